package acme

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"net"
	"slices"
	"strings"
	"testing"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/keys"
	"chancery/internal/store"
)

// fuzzCSRKey signs the seeds.
func fuzzCSRKey() *ecdsa.PrivateKey { return jwsTestECKey(elliptic.P256(), 9) }

func fuzzCSRSeeds(f *testing.F) {
	f.Helper()
	for _, template := range []x509.CertificateRequest{
		{},
		{DNSNames: []string{"www.example.test"}},
		{Subject: pkix.Name{CommonName: "WWW.example.test"}, DNSNames: []string{"www.example.test", "*.example.test"}},
		{Subject: pkix.Name{CommonName: "192.0.2.1"}, IPAddresses: []net.IP{{192, 0, 2, 1}, net.ParseIP("2001:db8::1"), net.ParseIP("::ffff:192.0.2.1")}},
		{DNSNames: []string{"xn--bcher-kva.test"}, EmailAddresses: []string{"a@b.test"}},
		{Subject: pkix.Name{CommonName: "[::1]"}},
	} {
		der, err := x509.CreateCertificateRequest(rand.Reader, &template, fuzzCSRKey())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Add([]byte{0x30, 0})
}

// FuzzCSR sends any octets as a CSR. The checks never panic, their errors are
// the client's, and what they accept has exactly the names of the order,
// each in its normal form.
func FuzzCSR(f *testing.F) {
	fuzzCSRSeeds(f)
	door := &Door{deps: Deps{CheckKey: keys.Check}}
	by := &account{key: &JWK{Public: jwsTestECKey(elliptic.P256(), 7).Public()}}
	f.Fuzz(func(t *testing.T, der []byte) {
		if _, err := door.parseCSR(base64.RawURLEncoding.EncodeToString(der)); err != nil {
			checkRefusal(t, err)
		}
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil {
			return
		}
		names, err := namesOf(csr) // whoever has the key can sign whatever names
		if err != nil {
			checkRefusal(t, err)
			return
		}
		for _, name := range names {
			if again, err := identifier.Parse(name.Type, name.Value); err != nil || again != name {
				t.Errorf("%v is not in its normal form: %v", name, err)
			}
			if !carries(csr, name) {
				t.Errorf("%v is not in the CSR", name)
			}
		}
		if keys.Check(csr.PublicKey) != nil {
			return // parseCSR has refused it
		}
		order := &store.Order{Identifiers: names}
		if err := door.checkCSR(csr, order, by); err != nil {
			t.Errorf("the order has the CSR's own names: %v", err)
		}
		order.Identifiers = append(slices.Clone(names), identifier.Identifier{Type: identifier.DNS, Value: "one.more.test"})
		if !slices.Contains(names, order.Identifiers[len(names)]) && door.checkCSR(csr, order, by) == nil {
			t.Error("a CSR with a name too few is accepted")
		}
	})
}

// checkRefusal wants an error that is the client's fault and says why.
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	problem := problemOf(err)
	if problem.Status != 400 || problem.Detail == "" || failure.KindOf(err) == failure.Internal && problem.Type == typePrefix+string(serverInternal) {
		t.Errorf("the problem is %+v", problem)
	}
}

// carries reports whether a CSR has a name, in any spelling.
func carries(csr *x509.CertificateRequest, name identifier.Identifier) bool {
	if strings.EqualFold(csr.Subject.CommonName, name.Value) {
		return true
	}
	for _, text := range csr.DNSNames {
		if name.Type == identifier.DNS && strings.EqualFold(text, name.Value) {
			return true
		}
	}
	same := func(ip net.IP) bool { return ip.Equal(name.Addr().AsSlice()) }
	return name.Type == identifier.IP && (slices.ContainsFunc(csr.IPAddresses, same) ||
		same(net.ParseIP(strings.Trim(csr.Subject.CommonName, "[]"))))
}
