package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// order is one certificate to get: how control is proven, and for which names.
// The first name is never a wildcard; clients file the certificate under it.
type order struct {
	how   string // an ACME challenge type, or a word that only the client knows
	names []string
}

// session is a client with an account at a site. What fails ends the test.
type session interface {
	obtain(t *testing.T, o order) (chain []byte)
	renew(t *testing.T, o order, old []byte) (chain []byte)
	revoke(t *testing.T, o order, chain []byte)
}

// clients lists every client with the ways in which it is to prove names.
func clients() []client {
	return []client{
		{"certbot", newCertbot, []string{"standalone", "webroot", "dns-01"}},
		{"lego", newLego, []string{"standalone", "webroot", "dns-01", "standalone-tls"}},
		{"dehydrated", newDehydrated, []string{"http-01", "dns-01", "tls-alpn-01"}},
		{"uacme", newUacme, []string{"http-01", "dns-01"}},
		{"acme-tiny", newAcmeTiny, []string{"http-01"}},
		{"lego-library", newLegoLibrary, []string{"http-01", "dns-01", "tls-alpn-01", "ip"}},
		{"acmez", newAcmez, []string{"http-01", "dns-01", "dns-account-01", "tls-alpn-01", "ip-tls"}},
		{"x-crypto-acme", newXCrypto, []string{"http-01", "dns-01", "tls-alpn-01", "ip"}},
		{"certmagic", newCertmagic, []string{"standalone", "standalone-tls", "dns-01"}},
		{"caddy", newCaddy, []string{"standalone", "standalone-tls"}},
	}
}

type client struct {
	name    string
	connect func(t *testing.T, s *site, eab *eab) session // eab may be nil
	ways    []string
}

// TestClients takes each client through the life of a certificate.
func TestClients(t *testing.T) {
	t.Parallel()
	for _, c := range clients() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			account := c.connect(t, s, nil)
			for _, how := range c.ways {
				t.Run(how, func(t *testing.T) { live(t, s, account, s.order(c.name, how)) })
			}
		})
	}
}

// order chooses names that lead where the client answers.
func (s *site) order(client, how string) order {
	where := zoneName
	switch how {
	case "ip":
		return order{"http-01", []string{s.web}}
	case "ip-tls":
		return order{"tls-alpn-01", []string{s.web}}
	case "standalone", "standalone-tls":
		where = "own." + zoneName
	}
	name, other := client+"-"+how+"."+where, "also."
	if strings.HasPrefix(how, "dns-") {
		other = "*."
	}
	if client == "certmagic" || client == "caddy" { // a certificate for each name
		return order{how, []string{name}}
	}
	return order{how, []string{name, other + name}}
}

// live obtains, checks, renews and revokes one certificate.
func live(t *testing.T, s *site, account session, o order) {
	first := account.obtain(t, o)
	s.verify(t, first, o.names)
	s.expectStatus(t, first, "valid")

	second := account.renew(t, o, first)
	s.verify(t, second, o.names)
	if serial(t, first) == serial(t, second) {
		t.Fatal("renewing gave the same certificate")
	}

	account.revoke(t, o, second)
	s.expectStatus(t, second, "revoked")
	s.expectStatus(t, first, "valid")
}

// verify checks a chain with openssl, as a relying party would, and its contents
// against the profile tls-server.
func (s *site) verify(t *testing.T, chain []byte, names []string) {
	t.Helper()
	dir := t.TempDir()
	leafFile, restFile := filepath.Join(dir, "leaf.pem"), filepath.Join(dir, "rest.pem")
	block, rest := pem.Decode(chain)
	if block == nil {
		t.Fatalf("not PEM: %q", chain)
	}
	write(t, leafFile, pem.EncodeToMemory(block))
	write(t, restFile, rest)

	args := []string{"verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", s.root, "-untrusted", restFile}
	for _, name := range names {
		asked := append(slices.Clone(args), "-verify_hostname", strings.Replace(name, "*", "any", 1), leafFile)
		if net.ParseIP(name) != nil {
			asked = append(slices.Clone(args), "-verify_ip", name, leafFile)
		}
		s.run(t, nil, "openssl", asked...)
	}
	s.checkText(t, leafFile, names)
	checkValidity(t, block.Bytes, 90*24*time.Hour)
}

// checkText looks for what every certificate for servers must say.
func (s *site) checkText(t *testing.T, leafFile string, names []string) {
	t.Helper()
	text := s.run(t, nil, "openssl", "x509", "-in", leafFile, "-noout", "-text")
	expected := []string{"TLS Web Server Authentication", "X509v3 Authority Key Identifier:", "Digital Signature"}
	for _, name := range names {
		kind := "DNS:"
		if net.ParseIP(name) != nil {
			kind = "IP Address:"
		}
		expected = append(expected, kind+name)
	}
	for _, phrase := range expected {
		if !strings.Contains(text, phrase) {
			t.Errorf("the certificate lacks %q:\n%s", phrase, text)
		}
	}
	for _, phrase := range []string{"CA:TRUE", "TLS Web Client Authentication", "Certificate Sign"} {
		if strings.Contains(text, phrase) {
			t.Errorf("the certificate must not have %q:\n%s", phrase, text)
		}
	}
}

func checkValidity(t *testing.T, der []byte, expected time.Duration) {
	t.Helper()
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	life := leaf.NotAfter.Sub(leaf.NotBefore) + time.Second // both ends count, RFC 5280 §4.1.2.5
	if off := (life - expected).Abs(); off > 2*time.Minute {
		t.Errorf("the certificate lives %v, expected %v", life, expected)
	}
	if age := time.Since(leaf.NotBefore); age < 30*time.Second || age > 10*time.Minute {
		t.Errorf("notBefore is %v ago, expected about a minute", age)
	}
}

// expectStatus compares what `certs show` says of a certificate.
func (s *site) expectStatus(t *testing.T, chain []byte, status string) {
	t.Helper()
	var shown struct{ Serial, Status, PEM string }
	printed := s.chancery(t, "certs", "show", "--dir", s.dir, "--json", serial(t, chain))
	if err := json.Unmarshal([]byte(printed), &shown); err != nil {
		t.Fatalf("certs show --json: %v\n%s", err, printed)
	}
	if strings.TrimLeft(shown.Serial, "0") != strings.TrimLeft(serial(t, chain), "0") {
		t.Errorf("certs show gave serial %q for %q", shown.Serial, serial(t, chain))
	}
	if shown.Status != status {
		t.Errorf("certificate %s is %q, expected %q", shown.Serial, shown.Status, status)
	}
	stored, _ := pem.Decode([]byte(shown.PEM))
	if stored == nil || !bytes.Equal(stored.Bytes, leafOf(t, chain).Raw) {
		t.Errorf("certs show gave another certificate: %q", shown.PEM)
	}
}

// revokeByOperator revokes from the command line, for clients that can't.
func (s *site) revokeByOperator(t *testing.T, chain []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cert.pem")
	write(t, file, chain)
	s.chancery(t, "cert", "revoke", "--dir", s.dir, "--reason", "superseded", file)
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// leafOf returns the first certificate of a PEM chain.
func leafOf(t *testing.T, chain []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(chain)
	if block == nil {
		t.Fatalf("not PEM: %q", chain)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// serial returns the serial number as 40 lower-case hex digits.
func serial(t *testing.T, chain []byte) string {
	t.Helper()
	return fmt.Sprintf("%040x", leafOf(t, chain).SerialNumber)
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
