package client

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"time"

	"chancery/internal/keys"
	"chancery/internal/renewal"
)

// Certificate is what the server has issued.
type Certificate struct {
	Chain   []*x509.Certificate // leaf first, without the root
	Key     crypto.Signer       // the leaf's; nil when a CSR was sent
	Profile string
}

// Leaf is the certificate itself.
func (c *Certificate) Leaf() *x509.Certificate { return c.Chain[0] }

// TLS is the certificate as crypto/tls takes it.
func (c *Certificate) TLS() *tls.Certificate {
	certificate := &tls.Certificate{PrivateKey: c.Key, Leaf: c.Chain[0]}
	for _, link := range c.Chain {
		certificate.Certificate = append(certificate.Certificate, link.Raw)
	}
	return certificate
}

// PEM is the chain in PEM, leaf first.
func (c *Certificate) PEM() []byte {
	var text []byte
	for _, link := range c.Chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: link.Raw})...)
	}
	return text
}

// Request asks for a certificate. The names come from the token.
type Request struct {
	Token       string        // what proves who asks
	Provisioner string        // who vouches for the token; "" where that says so itself
	Key         crypto.Signer // for which the certificate is; nil for a new P-256 key, unless there is a CSR
	CSR         []byte        // DER, in place of Key; it has no names, or all of the token's
	Profile     string        // "" for the token's, or the provisioner's default
	NotBefore   time.Time     // zero for now
	NotAfter    time.Time     // zero for the profile's lifetime
}

// issueRequest and the following are the JSON of the token door.
type issueRequest struct {
	Token       string    `json:"token,omitempty"`
	Provisioner string    `json:"provisioner,omitempty"`
	CSR         string    `json:"csr"`
	Profile     string    `json:"profile,omitempty"`
	NotBefore   time.Time `json:"not_before,omitzero"`
	NotAfter    time.Time `json:"not_after,omitzero"`
}

type issued struct {
	Certificate string `json:"certificate"`
	Chain       string `json:"chain"`
	Profile     string `json:"profile"`
}

type revocation struct {
	Serial      string `json:"serial,omitempty"`
	Certificate string `json:"certificate,omitempty"`
	Reason      string `json:"reason,omitempty"`
	Token       string `json:"token,omitempty"`
	Provisioner string `json:"provisioner,omitempty"`
}

// Issue gets a certificate for a token.
func (c *Client) Issue(ctx context.Context, r Request) (*Certificate, error) {
	const op = "issue the certificate"
	csr, err := newCSR(&r.Key, r.CSR)
	if err != nil {
		return nil, &Error{op, err}
	}
	body := issueRequest{r.Token, r.Provisioner, encodeCSR(csr), r.Profile, r.NotBefore, r.NotAfter}
	return c.issue(ctx, call{op: op, method: http.MethodPost, path: "/api/v1/sign", body: body}, r.Key, csr.PublicKey)
}

// Renew gets a certificate with the names and the profile of the current one,
// which must not have ended and must have its key with it. The new one is for
// the given key, which may be the old one, or for a new P-256 key if it is nil.
func (c *Client) Renew(ctx context.Context, current *Certificate, key crypto.Signer) (*Certificate, error) {
	const op = "renew the certificate"
	if current == nil || current.Key == nil || len(current.Chain) == 0 {
		return nil, &Error{op, errors.New("there is no certificate with a key to renew")}
	}
	csr, err := newCSR(&key, nil)
	if err != nil {
		return nil, &Error{op, err}
	}
	return c.issue(ctx, call{
		op: op, method: http.MethodPost, path: "/api/v1/renew",
		body: issueRequest{CSR: encodeCSR(csr)}, certificate: current.TLS(),
	}, key, csr.PublicKey)
}

func (c *Client) issue(ctx context.Context, r call, key crypto.Signer, public crypto.PublicKey) (*Certificate, error) {
	var answer issued
	if _, err := c.do(ctx, r, &answer); err != nil {
		return nil, err
	}
	chain, err := ParseCertificates([]byte(answer.Certificate + "\n" + answer.Chain))
	if err == nil && !keys.Equal(chain[0].PublicKey, public) {
		err = errors.New("the server sent a certificate for another key")
	}
	if err != nil {
		return nil, &Error{r.op, err}
	}
	return &Certificate{chain, key, answer.Profile}, nil
}

// newCSR reads a given CSR, or makes one without names, first the key if there
// is none.
func newCSR(key *crypto.Signer, given []byte) (*x509.CertificateRequest, error) {
	if given != nil {
		csr, err := x509.ParseCertificateRequest(given)
		if err != nil {
			return nil, fmt.Errorf("the CSR cannot be read: %w", err)
		}
		return csr, nil
	}
	if *key == nil {
		made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		*key = made
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, *key)
	if err != nil {
		return nil, fmt.Errorf("couldn't make the CSR: %w", err)
	}
	return x509.ParseCertificateRequest(der)
}

func encodeCSR(csr *x509.CertificateRequest) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr.Raw}))
}

// Revocation says which certificate is to be revoked, why, and who asks.
type Revocation struct {
	Certificate *x509.Certificate
	Serial      string        // its serial number in hexadecimal, instead of Certificate, with a Token
	Reason      string        // by its name in RFC 5280 §5.3.1; "" for unspecified
	Key         crypto.Signer // the certificate's own, with which it revokes itself; or
	Token       string        // one of the provisioner that the certificate was issued for, with all its names
	Provisioner string        // who vouches for the token; "" where that says so itself
}

// Revoke revokes a certificate.
func (c *Client) Revoke(ctx context.Context, r Revocation) error {
	const op = "revoke the certificate"
	if (r.Certificate == nil) == (r.Serial == "") || (r.Key == nil) == (r.Token == "") || r.Key != nil && r.Certificate == nil {
		return &Error{op, errors.New("a certificate and its key are needed, or a token and a certificate or its serial number")}
	}
	body := revocation{Serial: r.Serial, Reason: r.Reason, Token: r.Token, Provisioner: r.Provisioner}
	if r.Certificate != nil {
		body.Certificate = string((&Certificate{Chain: []*x509.Certificate{r.Certificate}}).PEM())
	}
	sent := call{op: op, method: http.MethodPost, path: "/api/v1/revoke", body: body}
	if r.Key != nil {
		sent.certificate = (&Certificate{Chain: []*x509.Certificate{r.Certificate}, Key: r.Key}).TLS()
	}
	_, err := c.do(ctx, sent, nil)
	return err
}

// Window is when the server wants a certificate to be renewed.
type Window struct {
	Start, End  time.Time
	RetryAfter  time.Duration // when to ask again; 0 when the server does not say
	Explanation string        // the URL of a page for people, or ""
}

// Renewal asks when a certificate is to be renewed (RFC 9773).
func (c *Client) Renewal(ctx context.Context, certificate *x509.Certificate) (Window, error) {
	const op = "ask when to renew"
	id := renewal.CertID(certificate)
	if id == "" {
		return Window{}, &Error{op, errors.New("the certificate has no authority key identifier")}
	}
	var body []byte
	header, err := c.do(ctx, call{op: op, method: http.MethodGet, path: "/api/v1/renewal/" + id}, &body)
	if err != nil {
		return Window{}, err
	}
	window, err := renewal.Parse(header, bytes.NewReader(body), time.Now())
	if err != nil {
		return Window{}, &Error{op, err}
	}
	return Window(window), nil
}
