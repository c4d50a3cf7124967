package e2e

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// xcrypto is a program that imports golang.org/x/crypto/acme.
type xcrypto struct {
	*site
	client *acme.Client
	keys   map[string]crypto.Signer // of certificates, by serial number
}

func newXCrypto(t *testing.T, s *site, eab *eab) session {
	client := &acme.Client{Key: newKey(t), DirectoryURL: s.directory, HTTPClient: s.trusting(t)}
	account := &acme.Account{Contact: []string{"mailto:" + contact}, ExternalAccountBinding: eab.xcrypto(t)}
	if _, err := client.Register(t.Context(), account, acme.AcceptTOS); err != nil {
		t.Fatal(err)
	}
	return &xcrypto{s, client, map[string]crypto.Signer{}}
}

func (e *eab) xcrypto(t *testing.T) *acme.ExternalAccountBinding {
	t.Helper()
	if e == nil {
		return nil
	}
	key, err := base64.RawURLEncoding.DecodeString(e.HMAC)
	if err != nil {
		t.Fatal(err)
	}
	return &acme.ExternalAccountBinding{KID: e.KID, Key: key}
}

func (c *xcrypto) obtain(t *testing.T, o order) []byte {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ids, template := acme.DomainIDs(o.names...), &x509.CertificateRequest{DNSNames: o.names}
	if ip := net.ParseIP(o.names[0]); ip != nil {
		ids, template = acme.IPIDs(o.names...), &x509.CertificateRequest{IPAddresses: []net.IP{ip}}
	}
	order, err := c.client.AuthorizeOrder(ctx, ids)
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range order.AuthzURLs {
		if err := c.authorize(ctx, url, o.how); err != nil {
			t.Fatal(err)
		}
	}
	if order, err = c.client.WaitOrder(ctx, order.URI); err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	csr, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	ders, _, err := c.client.CreateOrderCert(ctx, order.FinalizeURL, csr, true)
	if err != nil {
		t.Fatal(err)
	}
	chain := encode(ders)
	c.keys[serial(t, chain)] = key
	return chain
}

func (c *xcrypto) authorize(ctx context.Context, url, how string) error {
	authorization, err := c.client.GetAuthorization(ctx, url)
	if err != nil || authorization.Status == acme.StatusValid {
		return err
	}
	for _, challenge := range authorization.Challenges {
		if challenge.Type != how {
			continue
		}
		if err := c.present(challenge, authorization.Identifier.Value); err != nil {
			return err
		}
		if _, err := c.client.Accept(ctx, challenge); err != nil {
			return err
		}
		_, err := c.client.WaitAuthorization(ctx, url)
		return err
	}
	return fmt.Errorf("%s is not offered for %s", how, authorization.Identifier.Value)
}

func (c *xcrypto) present(challenge *acme.Challenge, name string) error {
	switch challenge.Type {
	case "http-01":
		answer, err := c.client.HTTP01ChallengeResponse(challenge.Token)
		if err != nil {
			return err
		}
		return c.presentHTTP(challenge.Token, answer)
	case "dns-01":
		value, err := c.client.DNS01ChallengeRecord(challenge.Token)
		if err != nil {
			return err
		}
		return c.presentTXT("_acme-challenge."+name, value)
	}
	certificate, err := c.client.TLSALPN01ChallengeCert(challenge.Token, name)
	c.alpn.present(name, &certificate)
	return err
}

func (c *xcrypto) renew(t *testing.T, o order, _ []byte) []byte { return c.obtain(t, o) }

// revoke signs with the certificate's own key (RFC 8555 §7.6).
func (c *xcrypto) revoke(t *testing.T, _ order, chain []byte) {
	key := c.keys[serial(t, chain)]
	if err := c.client.RevokeCert(t.Context(), key, leafOf(t, chain).Raw, acme.CRLReasonKeyCompromise); err != nil {
		t.Fatal(err)
	}
}

// TestAutocert serves HTTPS with a certificate that autocert gets when the first
// visitor comes, and gets another when that one is gone.
func TestAutocert(t *testing.T) {
	t.Parallel()
	s := start(t)
	name := "autocert.own." + zoneName
	cache := autocert.DirCache(filepath.Join(s.work, "autocert"))
	first := serveAutocert(t, s, name, cache)
	s.verify(t, first, []string{name})

	again := serveAutocert(t, s, name, cache)
	if serial(t, first) != serial(t, again) {
		t.Error("the certificate wasn't taken from the cache")
	}
	s.revokeByOperator(t, first)
	s.expectStatus(t, first, "revoked")

	fresh := serveAutocert(t, s, name, autocert.DirCache(filepath.Join(s.work, "autocert-2")))
	s.verify(t, fresh, []string{name})
	if serial(t, first) == serial(t, fresh) {
		t.Error("no new certificate was issued")
	}
}

// serveAutocert runs an HTTPS server for one visit, and returns the chain that
// the visitor saw.
func serveAutocert(t *testing.T, s *site, name string, cache autocert.Cache) []byte {
	t.Helper()
	manager := &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: cache, Email: contact, HostPolicy: autocert.HostWhitelist(name),
		Client: &acme.Client{DirectoryURL: s.directory, HTTPClient: s.trusting(t)},
	}
	listener, err := tls.Listen("tcp", net.JoinHostPort(s.own, alpnPort), manager.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "hello")
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // always ends with the error of Close
	}()
	defer func() {
		_ = server.Close()
		<-done
	}()
	chain, err := s.visit(t, s.own+":"+alpnPort, name)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

// visit fetches https://name/ from an address, trusting the site's root only, and
// returns the chain that the server showed.
func (s *site) visit(t *testing.T, address, name string) ([]byte, error) {
	t.Helper()
	client := s.trusting(t)
	client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	resp, err := client.Get("https://" + name + "/")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "hello" {
		return nil, fmt.Errorf("visited %s: %q, %w", name, body, err)
	}
	var ders [][]byte
	for _, certificate := range resp.TLS.PeerCertificates {
		ders = append(ders, certificate.Raw)
	}
	return encode(ders), nil
}

// encode writes a chain of certificates in DER as PEM.
func encode(certificates [][]byte) []byte {
	var chain []byte
	for _, der := range certificates {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return chain
}
