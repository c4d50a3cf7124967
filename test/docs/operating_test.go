package docs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
)

// TestOperating lives an operator's day as docs/operating.md tells it.
func TestOperating(t *testing.T) {
	p := newPlace(t)
	here, plain := p.address+":9443", p.address+":9480"
	lib := []string{"/var/lib/chancery", "lib"}
	follow(t, p, "docs/operating.md", slices.Concat(made(t, p, here, plain, lib), []step{
		{command: "chancery serve --dir /var/lib/chancery", change: lib, serves: here, want: "https://ca.corp.example:9443/acme/directory"},
		{command: "chancery config check --dir /var/lib/chancery", change: lib, want: "good"},
		{command: "chancery config show --dir /var/lib/chancery", change: lib, want: "validation.http_port"},
		{command: "chancery config schema", want: `"$schema"`},
		{
			command: "chancery issuer rotate --root-passphrase-file /var/lib/chancery/root-passphrase.txt --dir /var/lib/chancery",
			change:  lib, want: "Chancery Intermediate CA",
		},
		{command: "chancery issuer list --dir /var/lib/chancery", change: lib, want: "default"},
		{
			command: "chancery issuer request --csr-out sub.csr --dir /var/lib/chancery",
			change:  []string{"/var/lib/chancery", "outside"}, want: "sub.csr",
		},
		{
			command: "chancery issuer accept --certificate sub.pem --dir /var/lib/chancery",
			change:  []string{"/var/lib/chancery", "outside"},
			prepare: func() []string { return p.signRequest(t, "sub.csr", "sub.pem") }, want: "default",
		},
		{
			command: "curl -s http://ca.corp.example:9480/crl/ISSUER.crl | openssl crl -inform DER -out issuer-crl.pem",
			change:  []string{"ca.corp.example:9480", plain}, prepare: func() []string { return []string{"ISSUER", p.keyID(t, "intermediate.pem")} },
		},
		{
			command: "curl -s http://ca.corp.example:9480/crl/ROOT.crl | openssl crl -inform DER -out root-crl.pem",
			change:  []string{"ca.corp.example:9480", plain}, prepare: func() []string { return []string{"ROOT", p.keyID(t, "root.pem")} },
		},
		{command: "cat issuer-crl.pem root-crl.pem > crl.pem"},
		{command: "chancery root crl --dir /var/lib/chancery", change: lib, want: "Good until"},
		{command: "chancery backup ca-backup.tar --dir /var/lib/chancery", change: lib, want: "ca-backup.tar"},
		{command: "chancery restore ca-backup.tar --dir /var/lib/chancery-new", change: lib, want: "lib-new"},
	}, lost(t, p, lib), []step{
		{command: "chancery eab create --name team-a --single-use --json --dir /var/lib/chancery", change: lib, want: `"hmac"`},
		{command: "chancery eab list --dir /var/lib/chancery", change: lib, want: "team-a"},
		{command: "chancery orders list --dir /var/lib/chancery", change: lib, prepare: func() []string { p.order(t); return nil }, want: "app.corp.example"},
		{
			command: "chancery orders show ID --dir /var/lib/chancery", change: lib,
			prepare: func() []string { return []string{"ID", p.order(t)} }, want: "app.corp.example: pending",
		},
	}))
}

// made is how a CA comes to be: made, taken over, or signed by a root elsewhere.
func made(t *testing.T, p *place, here, plain string, lib []string) []step {
	t.Helper()
	return []step{
		{
			command: "chancery init --dir /var/lib/chancery --name ca.corp.example --permit corp.example,10.0.0.0/8",
			change:  append(lib, "--permit", "--listen "+here+" --set http_listen="+plain+" --permit"), want: "10.0.0.0/8",
		},
		{
			command: "chancery init --dir /var/lib/chancery --root root.pem --intermediate intermediate.pem --key intermediate.key",
			change:  []string{"/var/lib/chancery", "adopted"},
			prepare: func() []string { return p.existingPKI(t) }, want: "Chancery Root CA",
		},
		{
			command: "chancery init --dir /var/lib/chancery --csr-out intermediate.csr",
			change:  []string{"/var/lib/chancery", "outside"}, want: "intermediate.csr",
		},
		{
			command: "chancery init --dir /var/lib/chancery --intermediate signed.pem --root root.pem",
			change:  []string{"/var/lib/chancery", "outside"},
			prepare: func() []string { return p.signRequest(t, "intermediate.csr", "signed.pem") }, want: "Root of another department",
		},
	}
}

// existingPKI puts the files of the CA that was made first where the page has
// those of an existing one.
func (p *place) existingPKI(t *testing.T) []string {
	t.Helper()
	for _, name := range []string{"root.pem", "intermediate.pem", "intermediate.key"} {
		content, err := os.ReadFile(filepath.Join(p.dir, "lib", name))
		if err != nil {
			t.Fatal(err)
		}
		p.write(t, name, content)
	}
	return nil
}

// keyID is how the CA that was made first calls one of its certificates.
func (p *place) keyID(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "lib", name))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(certificate.SubjectKeyId[:8])
}

func (p *place) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// signRequest is what a root elsewhere, made the first time, does with a
// request.
func (p *place) signRequest(t *testing.T, requestFile, certificateFile string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, requestFile))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	root := authority("Root of another department", 1)
	if p.rootKey == nil {
		if p.rootKey, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
			t.Fatal(err)
		}
		p.certify(t, "root.pem", root, root, p.rootKey.Public(), p.rootKey)
	}
	issuing := authority("", time.Now().UnixNano())
	issuing.RawSubject, issuing.MaxPathLenZero = request.RawSubject, true
	p.certify(t, certificateFile, issuing, root, request.PublicKey, p.rootKey)
	return nil
}

// authority is the template of a CA's certificate.
func authority(name string, serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func (p *place) certify(t *testing.T, name string, template, issuer *x509.Certificate, public any, key *ecdsa.PrivateKey) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, public, key)
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// order makes an order that waits for its proof, and returns its id.
func (p *place) order(t *testing.T) string {
	t.Helper()
	roots := x509.NewCertPool()
	root, err := os.ReadFile(filepath.Join(p.dir, "lib", "root.pem"))
	if err != nil || !roots.AppendCertsFromPEM(root) {
		t.Fatalf("there is no root: %v", err)
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) { // as DNS would say
			return new(net.Dialer).DialContext(ctx, network, p.address+":9443")
		},
	}
	defer transport.CloseIdleConnections()
	c, err := acmetest.NewClient(t.Context(), &http.Client{Transport: transport}, "https://ca.corp.example:9443/acme/directory")
	if err == nil {
		_, err = c.Register(t.Context(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	order, err := c.NewOrder(t.Context(), acmetest.DNS("app.corp.example"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(order.URL)
}
