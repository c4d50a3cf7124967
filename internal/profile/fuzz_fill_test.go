package profile

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"chancery/internal/expr"
	"chancery/internal/identifier"
)

// Whatever expressions give, what comes out is a certificate that parses, with
// exactly that in it, or an error.
func FuzzFill(f *testing.F) {
	f.Add("Corp", "DE", "spiffe://corp/a", "a@b", "a.corp", "10.0.0.0/8", "1.2.3", []byte{5, 0}, int64(-1))
	f.Add("Größe\x00", "de", "http://a/../b", "a@b@c", "*", "10.0.0.1/8", "1.2.999999999999999999999", []byte{0x30, 0x80}, int64(1<<62))
	ca := newCA(f, "P-256", far)
	one := func(text string) []Text { return []Text{expr.CEL[string](text)} }
	text := func(text string) *Text { t := expr.CEL[string](text); return &t }
	number := expr.CEL[int]("token.n")
	spec := Spec{
		Subject: Subject{Organization: one("token.o"), Country: one("token.c"), Extra: []Attribute{{OID: "1.2.840.113549.1.9.1", Value: expr.CEL[string]("token.e")}}},
		SAN:     SAN{URIs: one("token.u"), Emails: one("token.e"), DNS: one("token.d == '*' ? [] : [token.d]")},
		Extensions: []Extension{
			{OID: "1.3.6.1.4.1.55555.1", Value: Typed{Sequence: []Typed{
				{UTF8: text("token.o")}, {IA5: text("token.e")}, {Printable: text("token.c")}, {OID: text("token.i")}, {Int: &number},
			}}},
			{OID: "1.3.6.1.4.1.55555.2", Value: Typed{DER: text("csr.extensions['1.2.3']")}},
			{OID: "1.3.6.1.4.1.55555.3", Value: Typed{Bytes: text("csr.extensions['1.2.3']")}},
		},
	}
	leaf := compile(f, "leaf", spec)
	spec.BasicConstraints.CA = true
	spec.NameConstraints = NameConstraints{
		Permitted: Subtrees{DNS: one("token.d"), IPs: one("token.p"), Emails: one("token.e")}, Excluded: Subtrees{URIs: one("token.d")},
	}
	spec.Extensions = nil
	authority := compile(f, "authority", spec)
	template := ca.input(f, "P-256")
	f.Fuzz(func(t *testing.T, o, c, u, e, d, p, i string, der []byte, n int64) {
		in := template
		in.Facts.Token = expr.Claims{"o": o, "c": c, "u": u, "e": e, "d": d, "p": p, "i": i, "n": n}
		in.CSR = request(t, der)
		for _, profile := range []*Profile{leaf, authority} {
			tbs, err := profile.ToBeSigned(in)
			if err != nil {
				continue
			}
			cert := ca.sign(t, tbs.DER)
			if len(cert.Subject.Organization) != 1 || cert.Subject.Organization[0] != o || cert.Subject.Country[0] != c {
				t.Errorf("%q and %q became the subject %v", o, c, cert.Subject)
			}
			if len(cert.URIs)+len(cert.EmailAddresses)+len(cert.DNSNames) != len(tbs.Names) || len(tbs.Names) < 2 {
				t.Errorf("names %v became %v, %v, %v", tbs.Names, cert.URIs, cert.EmailAddresses, cert.DNSNames)
			}
			for _, name := range tbs.Names {
				if again, err := identifier.Parse(name.Type, name.Value); err != nil || again != name {
					t.Errorf("the name %v is not in its normal form: %v, %v", name, again, err)
				}
			}
			if profile == authority && (!cert.IsCA || len(cert.PermittedIPRanges) != 1) {
				t.Errorf("the authority is %+v", cert)
			}
			if _, err := x509.ParseCertificate(cert.Raw); err != nil {
				t.Error(err)
			}
		}
	})
}

// request is a CSR with one extension.
func request(t *testing.T, value []byte) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: value}},
	}, testKeys()["Ed25519"])
	if err != nil {
		t.Fatal(err)
	}
	return der
}
