package csr

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/keys"
)

func make256(t testing.TB, template *x509.CertificateRequest) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func everyName() *x509.CertificateRequest {
	return &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "A.corp"}, DNSNames: []string{"a.corp", "*.b.corp"},
		IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1), net.ParseIP("fd00::1")}, EmailAddresses: []string{"Ops@Corp"},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "corp", Path: "/web"}},
	}
}

func common(name string) *x509.CertificateRequest {
	return &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}
}

func TestNames(t *testing.T) {
	all := identifier.Types()
	otherName := &x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: []byte{0x30, 4, 0xa0, 2, 5, 0}}}}
	for _, test := range []struct {
		name     string
		template *x509.CertificateRequest
		accepted []identifier.Type
		want     string
	}{
		{"all types", everyName(), all, "[dns:*.b.corp dns:a.corp email:Ops@corp ip:10.0.0.1 ip:fd00::1 uri:spiffe://corp/web]"},
		{"not all types", everyName(), []identifier.Type{identifier.DNS, identifier.IP}, "neither of the type dns nor ip"},
		{"none", &x509.CertificateRequest{}, all, "[]"},
		{"address as common name", common("10.0.0.1"), all, "[ip:10.0.0.1]"},
		{"email as common name", common("a@corp"), all, "[email:a@corp]"},
		{"URI as common name", common("spiffe://corp/a"), all, "[uri:spiffe://corp/a]"},
		{"email where none is accepted", common("a@corp"), []identifier.Type{identifier.DNS}, `the common name "a@corp"`},
		{"person as common name", common("Ada Lovelace"), all, `the common name "Ada Lovelace"`},
		{"other name", otherName, all, "neither of the type dns nor ip nor email nor uri"},
		{"bad name", &x509.CertificateRequest{DNSNames: []string{"a..corp"}}, all, `the dns name "a..corp"`},
	} {
		request, err := Parse(make256(t, test.template), keys.Check)
		if err != nil {
			t.Fatal(err)
		}
		names, err := Names(request, test.accepted...)
		if got := fmt.Sprint(names, err); !strings.Contains(got, test.want) || err != nil && failure.KindOf(err) != failure.BadCSR {
			t.Errorf("%s: %s", test.name, got)
		}
	}
}

func TestDecode(t *testing.T) {
	der := make256(t, everyName())
	block := func(typ string) string { return string(pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der})) }
	for text, good := range map[string]bool{
		block("CERTIFICATE REQUEST"):                        true,
		"\n" + block("NEW CERTIFICATE REQUEST"):             true,
		base64.StdEncoding.EncodeToString(der):              true,
		block("CERTIFICATE"):                                false,
		block("CERTIFICATE REQUEST") + block("CERTIFICATE"): false,
		base64.StdEncoding.EncodeToString(der) + "?":        false,
		"-----BEGIN CERTIFICATE REQUEST-----\nAAAA":         false,
		"":                                     false,
		strings.Repeat("=", 10):                false,
		block("CERTIFICATE REQUEST") + "\n \n": true,
		string(pem.EncodeToMemory(&pem.Block{Type: "NOTHING", Bytes: nil})): false,
	} {
		if decoded, err := Decode(text); (err == nil) != good || good && string(decoded) != string(der) {
			t.Errorf("%.60q: %v", text, err)
		}
	}
	changed := make256(t, everyName())
	changed[len(changed)-1] ^= 1
	if _, err := Parse(changed, keys.Check); failure.KindOf(err) != failure.BadCSR || !strings.Contains(err.Error(), "not signed by the key") {
		t.Errorf("a CSR with a bad signature: %v", err)
	}
	if _, err := Parse(der[:len(der)-1], keys.Check); failure.KindOf(err) != failure.BadCSR {
		t.Errorf("half a CSR: %v", err)
	}
}

// FuzzNames reads names out of whatever parses as a CSR.
func FuzzNames(f *testing.F) {
	for _, template := range []*x509.CertificateRequest{everyName(), common("a@corp"), {}} {
		f.Add(make256(f, template))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		_, _ = Decode(string(der))
		request, err := x509.ParseCertificateRequest(der)
		if err != nil {
			return
		}
		names, err := Names(request, identifier.Types()...)
		if err != nil {
			if failure.KindOf(err) != failure.BadCSR {
				t.Error(err)
			}
			return
		}
		for _, name := range names {
			if again, err := identifier.ParseLoose(name.Type, name.Value); err != nil || again != name {
				t.Errorf("%s is no normal form: %v, %v", name, again, err)
			}
		}
	})
}
