package client

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
)

// ParseCertificates reads the certificates of PEM text, of which there must be
// at least one.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	var found []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("couldn't read a certificate: %w", err)
		}
		found = append(found, certificate)
	}
	if len(found) == 0 {
		return nil, errors.New("there is no certificate in PEM form in it")
	}
	return found, nil
}

// RootsFromFile reads the roots to trust from a file in PEM form.
func RootsFromFile(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the root: %w", err)
	}
	roots, err := ParseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the root %s: %w", path, err)
	}
	return Pool(roots...), nil
}

// Pool is a pool of certificates.
func Pool(certificates ...*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, certificate := range certificates {
		pool.AddCert(certificate)
	}
	return pool
}

// Fingerprint is the SHA-256 of a certificate in hexadecimal.
func Fingerprint(certificate *x509.Certificate) string {
	sum := sha256.Sum256(certificate.Raw)
	return hex.EncodeToString(sum[:])
}

// RootByFingerprint downloads the root with a given SHA-256 fingerprint, in
// hexadecimal with or without colons, from a server that is not trusted yet: only
// the fingerprint counts.
func RootByFingerprint(ctx context.Context, server, fingerprint string) (*x509.Certificate, error) {
	const op = "get the root by its fingerprint"
	want, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(fingerprint))
	if err != nil || len(want) != sha256.Size {
		return nil, &Error{op, errors.New("a SHA-256 fingerprint has 64 hexadecimal digits")}
	}
	c := &Client{Server: server}
	transport := c.transport(nil)
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} //nolint:gosec // the fingerprint is what is trusted
	defer transport.CloseIdleConnections()
	var text []byte
	if _, err := c.send(ctx, c.httpClient(transport), call{method: http.MethodGet, path: "/root.pem"}, &text); err != nil {
		return nil, &Error{op, err}
	}
	offered, err := ParseCertificates(text)
	if err != nil {
		return nil, &Error{op, err}
	}
	for _, root := range offered {
		if sum := sha256.Sum256(root.Raw); subtle.ConstantTimeCompare(sum[:], want) == 1 {
			return root, nil
		}
	}
	return nil, &Error{op, fmt.Errorf("%w: it offers %s", ErrFingerprint, Fingerprint(offered[0]))}
}

// ErrFingerprint is wrapped when a server offers no root with the fingerprint.
var ErrFingerprint = errors.New("the server has another root")
