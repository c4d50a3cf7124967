package acme_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"net"
	"net/http"
	"slices"
	"testing"

	"chancery/internal/acme/acmetest"
	"chancery/internal/server/servertest"
)

// parse reads a certificate.
func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	certificate, err := x509.ParseCertificate(der)
	check(t, err)
	return certificate
}

// csr makes a CSR of a template, as finalize takes it.
func csr(t testing.TB, key crypto.Signer, template x509.CertificateRequest) members {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	check(t, err)
	return members{"csr": acmetest.Encode(der)}
}

func common(name string) pkix.Name { return pkix.Name{CommonName: name} }

// testCSRSpellings: names in subject and SAN, in any order and
// case, once or twice, are the order's names or not.
func testCSRSpellings(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	address := ca.Web.Address
	one := acmetest.DNS("one.example.test")
	two := acmetest.DNS("one.example.test", "two.example.test")
	mixed := append(acmetest.DNS("one.example.test"), acmetest.IP(address)...)
	for name, test := range map[string]struct {
		names    []acmetest.Name
		template x509.CertificateRequest
		common   string // of the certificate
	}{
		"CN only":            {one, x509.CertificateRequest{Subject: common("one.example.test")}, "one.example.test"},
		"CN in upper case":   {one, x509.CertificateRequest{Subject: common("ONE.Example.Test")}, "one.example.test"},
		"SAN only":           {one, x509.CertificateRequest{DNSNames: []string{"one.example.test"}}, ""},
		"SAN in upper case":  {one, x509.CertificateRequest{DNSNames: []string{"ONE.EXAMPLE.TEST"}}, ""},
		"a name twice":       {one, x509.CertificateRequest{DNSNames: []string{"one.example.test", "One.example.test"}}, ""},
		"CN and SAN":         {one, x509.CertificateRequest{Subject: common("one.example.test"), DNSNames: []string{"one.example.test"}}, "one.example.test"},
		"another order":      {two, x509.CertificateRequest{DNSNames: []string{"two.example.test", "one.example.test"}}, ""},
		"one of two in CN":   {two, x509.CertificateRequest{Subject: common("two.example.test"), DNSNames: []string{"one.example.test"}}, "two.example.test"},
		"name and address":   {mixed, x509.CertificateRequest{DNSNames: []string{"one.example.test"}, IPAddresses: []net.IP{net.ParseIP(address)}}, ""},
		"address in the CN":  {mixed, x509.CertificateRequest{Subject: common(address), DNSNames: []string{"one.example.test"}, IPAddresses: []net.IP{net.ParseIP(address)}}, address},
		"a subject with all": {one, x509.CertificateRequest{Subject: pkix.Name{CommonName: "one.example.test", Organization: []string{"Example"}, Country: []string{"NO"}}}, "one.example.test"},
	} {
		t.Run(name, func(t *testing.T) {
			made := readyOrder(t, ca, client, test.names, nil)
			body := succeeded(t, post(t, client, made.Finalize, csr(t, newKey(t), test.template)), http.StatusOK)
			resp := post(t, client, body["certificate"].(string), nil)
			leaf := parse(t, blocks(t, resp.Body)[0])
			if leaf.Subject.CommonName != test.common || len(leaf.Subject.Organization) > 0 {
				t.Errorf("the subject is %q", leaf.Subject)
			}
			for _, want := range test.names {
				if err := leaf.VerifyHostname(want.Value); err != nil {
					t.Error(err)
				}
			}
			if len(leaf.DNSNames)+len(leaf.IPAddresses) != len(test.names) {
				t.Errorf("the names are %v %v", leaf.DNSNames, leaf.IPAddresses)
			}
		})
	}
}

// testPaddedCSR: some clients pad the CSR's base64url.
func testPaddedCSR(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	names := acmetest.DNS("padded.example.test")
	der := unpadded(t, newKey(t), names)
	made := readyOrder(t, ca, client, names, nil)
	succeeded(t, post(t, client, made.Finalize, members{"csr": base64.URLEncoding.EncodeToString(der)}), http.StatusOK)
}

// unpadded makes CSRs until one needs padding in base64.
func unpadded(t testing.TB, key crypto.Signer, names []acmetest.Name) []byte {
	t.Helper()
	for {
		der, err := acmetest.CSR(key, names)
		check(t, err)
		if len(der)%3 != 0 {
			return der
		}
	}
}

// TestCertificateKeys issues for every kind of key that is allowed.
func TestCertificateKeys(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t)
	client := ca.Client()
	names := acmetest.DNS("keys.example.test")
	keys := map[string]crypto.Signer{}
	for name, curve := range map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		check(t, err)
		keys[name] = key
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	keys["Ed25519"] = ed
	keys["RSA"], err = rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	for name, key := range keys {
		made := readyOrder(t, ca, client, names, nil)
		body := succeeded(t, post(t, client, made.Finalize, request(t, key, names)), http.StatusOK)
		leaf := parse(t, blocks(t, post(t, client, body["certificate"].(string), nil).Body)[0])
		if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(leaf.PublicKey) {
			t.Errorf("%s: the certificate has another key", name)
		}
		if wanted := name == "RSA"; wanted != (leaf.KeyUsage&x509.KeyUsageKeyEncipherment != 0) || !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
			t.Errorf("%s: key usage %b, extended %v", name, leaf.KeyUsage, leaf.ExtKeyUsage)
		}
	}
}
