package profile

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/serial"
)

var far = now.AddDate(40, 0, 0)

// Each case is also made by the standard library, from a template written by
// hand; the bytes must be the same.
func TestBytesAreTheStandardLibrarys(t *testing.T) { //nolint:funlen // mostly a table
	long := strings.Repeat("a", 60) + ".corp" // 65 characters
	server := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	tests := map[string]struct {
		profile string
		spec    Spec
		change  func(*Input)
		ids     []identifier.Identifier
		key     string
		want    x509.Certificate
		subject string
	}{
		"server": {
			profile: "tls-server", ids: []identifier.Identifier{dns("b.corp"), dns("*.a.corp"), ip("10.0.0.1"), ip("2001:db8::1")}, key: "P-256",
			want: x509.Certificate{
				KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: server, NotAfter: now.AddDate(0, 0, 90),
				DNSNames: []string{"b.corp", "*.a.corp"}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1), net.ParseIP("2001:db8::1")},
			},
		},
		"RSA server with a common name and all URLs": {
			profile: "tls-server", ids: []identifier.Identifier{dns("a.corp")}, key: "RSA-2048", subject: "a.corp",
			change: func(in *Input) {
				in.Wishes.CommonName = "A.Corp"
				in.IssuerURL, in.CRLURL, in.OCSPURL = "http://ca/i.pem", "http://ca/1.crl", "http://ca/ocsp"
			},
			want: x509.Certificate{
				KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: server, NotAfter: now.AddDate(0, 0, 90), DNSNames: []string{"a.corp"},
				IssuingCertificateURL: []string{"http://ca/i.pem"}, CRLDistributionPoints: []string{"http://ca/1.crl"}, OCSPServer: []string{"http://ca/ocsp"},
			},
		},
		"client, its common name too long": {
			profile: "tls-client", ids: []identifier.Identifier{dns(long)}, key: "Ed25519",
			change: func(in *Input) { in.Wishes.CommonName = long },
			want: x509.Certificate{
				KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotAfter: now.AddDate(0, 0, 90), DNSNames: []string{long},
			},
		},
		"mutual, its common name an address": {
			profile: "tls-mutual", ids: []identifier.Identifier{dns("a.corp"), ip("10.0.0.1")}, key: "P-521", subject: "10.0.0.1",
			change: func(in *Input) { in.Wishes.CommonName = "10.0.0.1" },
			want: x509.Certificate{
				KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, NotAfter: now.AddDate(0, 0, 90),
				DNSNames: []string{"a.corp"}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)},
			},
		},
		"short-lived: no revocation URLs, though given": {
			profile: "shortlived", ids: []identifier.Identifier{dns("a.corp")}, key: "P-384",
			change: func(in *Input) {
				in.Wishes.CommonName = "other.corp"
				in.IssuerURL, in.CRLURL, in.OCSPURL = "http://ca/i.pem", "http://ca/1.crl", "http://ca/ocsp"
			},
			want: x509.Certificate{
				KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: server, NotAfter: now.AddDate(0, 0, 6), DNSNames: []string{"a.corp"},
				IssuingCertificateURL: []string{"http://ca/i.pem"},
				ExtraExtensions:       []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 56}, Value: []byte{5, 0}}},
			},
		},
		"every key usage an elliptic curve has, into the years of GeneralizedTime": {
			profile: "odd", ids: []identifier.Identifier{dns("a")}, key: "P-256",
			spec: Spec{
				Validity:  Validity{Default: 25 * 365 * day},
				KeyUsages: []string{"decipherOnly", "encipherOnly", "keyAgreement", "contentCommitment", "digitalSignature", "keyEncipherment", "dataEncipherment"},
				KeyTypes:  []string{"P-256", "Ed25519"}, ExtendedKeyUsages: []string{"1.3.6.1.4.1.311.20.2.2", "emailProtection", "codeSigning", "OCSPSigning"},
			},
			want: x509.Certificate{
				KeyUsage:           x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment | x509.KeyUsageKeyAgreement | x509.KeyUsageEncipherOnly | x509.KeyUsageDecipherOnly,
				UnknownExtKeyUsage: []asn1.ObjectIdentifier{{1, 3, 6, 1, 4, 1, 311, 20, 2, 2}, {1, 3, 6, 1, 5, 5, 7, 3, 4}, {1, 3, 6, 1, 5, 5, 7, 3, 3}, {1, 3, 6, 1, 5, 5, 7, 3, 9}},
				NotAfter:           now.AddDate(0, 0, 25*365), DNSNames: []string{"a"},
			},
		},
	}
	ca := newCA(t, "P-256", far)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := ca.input(t, test.key, test.ids...)
			if test.change != nil {
				test.change(&in)
			}
			got, err := compile(t, test.profile, test.spec).ToBeSigned(in)
			if err != nil {
				t.Fatal(err)
			}
			want := standardTBS(t, ca, in, test.want, test.subject)
			if !bytes.Equal(got.DER, want.RawTBSCertificate) {
				t.Errorf("got  %x\nwant %x", got.DER, want.RawTBSCertificate)
			}
			if !got.NotBefore.Equal(want.NotBefore) || !got.NotAfter.Equal(want.NotAfter) {
				t.Errorf("says it is good from %v to %v, but has %v to %v", got.NotBefore, got.NotAfter, want.NotBefore, want.NotAfter)
			}
		})
	}
}

// standardTBS makes template into the certificate of the standard library.
func standardTBS(t *testing.T, ca *testCA, in Input, template x509.Certificate, commonName string) *x509.Certificate {
	t.Helper()
	subject := pkix.RDNSequence{}
	if commonName != "" {
		value := asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(commonName)}
		subject = pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: value}}}
	}
	var err error
	if template.RawSubject, err = asn1.Marshal(subject); err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore = in.Serial.Big(), now.Add(-time.Minute)
	template.BasicConstraintsValid = true
	authority := &x509.Certificate{SerialNumber: in.Serial.Big(), IsCA: true, BasicConstraintsValid: true}
	template.SubjectKeyId = standardCertificate(t, ca, authority, in).SubjectKeyId // it computes those of authorities only
	return standardCertificate(t, ca, &template, in)
}

func standardCertificate(t *testing.T, ca *testCA, template *x509.Certificate, in Input) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, in.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// Relying parties: Go and OpenSSL accept what issuers of every kind sign, for
// keys of every kind.
func TestRelyingPartiesAccept(t *testing.T) {
	for issuerKind := range testKeys() {
		ca := newCA(t, issuerKind, far)
		for name := range Defaults() {
			p := compile(t, name, Spec{})
			for kind := range testKeys() {
				in := ca.input(t, kind, dns("a.corp"), dns("*.b.corp"), ip("10.0.0.1"))
				if kind == "P-256" {
					in.Wishes.CommonName = "a.corp"
				}
				in.CRLURL, in.IssuerURL = "http://ca.corp/1.crl", "http://ca.corp/i.pem"
				tbs, err := p.ToBeSigned(in)
				if err != nil {
					t.Fatal(err)
				}
				cert := ca.sign(t, tbs.DER)
				verify(t, ca, cert)
			}
			in := ca.input(t, "P-256", dns("a.corp"))
			tbs, err := p.ToBeSigned(in)
			if err != nil {
				t.Fatal(err)
			}
			opensslVerify(t, ca.cert, ca.sign(t, tbs.DER))
		}
	}
}

func verify(t *testing.T, ca *testCA, cert *x509.Certificate) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	for _, name := range []string{"a.corp", "x.b.corp", "10.0.0.1"} {
		_, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		if err != nil {
			t.Error(err)
		}
	}
}

func opensslVerify(t *testing.T, root, cert *x509.Certificate) {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, cert *x509.Certificate) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	at := "1795464184" // now, for OpenSSL
	out, err := exec.Command("openssl", "verify", "-x509_strict", "-check_ss_sig", "-attime", at, "-verify_hostname", "a.corp",
		"-CAfile", write("root.pem", root), write("leaf.pem", cert)).CombinedOutput()
	if err != nil {
		t.Errorf("openssl verify: %v\n%s", err, out)
	}
}

func TestToBeSignedRefuses(t *testing.T) {
	ca := newCA(t, "P-256", far)
	ecdsaOnly := compile(t, "p", Spec{KeyTypes: []string{"P-256", "RSA-3072"}})
	for name, test := range map[string]struct {
		profile *Profile
		change  func(*Input)
		kind    failure.Kind
		says    string
	}{
		"no names":          {ecdsaOnly, func(in *Input) { in.Identifiers = nil }, failure.Malformed, "0 names"},
		"zero serial":       {ecdsaOnly, func(in *Input) { in.Serial = serial.Number{} }, failure.Internal, "first octet"},
		"negative serial":   {ecdsaOnly, func(in *Input) { in.Serial[0] = 0x80 }, failure.Internal, "first octet"},
		"unknown name type": {ecdsaOnly, func(in *Input) { in.Identifiers[0].Type = "email" }, failure.Unsupported, "no names like email:a.corp; it takes those of the types dns, ip"},
		"address that is none": {ecdsaOnly, func(in *Input) {
			in.Identifiers = []identifier.Identifier{ip("x")}
		}, failure.Unsupported, "ip:x"},
		"key of another type": {ecdsaOnly, func(in *Input) { in.PublicKey = testKeys()["P-384"].Public() }, failure.BadCSR, "the key is P-384; the profile p takes P-256, RSA-3072"},
		"key of another size": {ecdsaOnly, func(in *Input) { in.PublicKey = testKeys()["RSA-2048"].Public() }, failure.BadCSR, "RSA-2048"},
		"no key":              {ecdsaOnly, func(in *Input) { in.PublicKey = nil }, failure.BadCSR, "takes P-256"},
		"bad SPKI":            {ecdsaOnly, func(in *Input) { in.SPKI = []byte("x") }, failure.Internal, "SubjectPublicKeyInfo"},
	} {
		t.Run(name, func(t *testing.T) {
			in := ca.input(t, "P-256", dns("a.corp"))
			in.Identifiers = slices.Clone(in.Identifiers)
			test.change(&in)
			_, err := test.profile.ToBeSigned(in)
			if err == nil || !strings.Contains(err.Error(), test.says) || failure.KindOf(err) != test.kind {
				t.Errorf("%v (kind %d); want kind %d and %q", err, failure.KindOf(err), test.kind, test.says)
			}
		})
	}
}

func TestNewIssuerRefuses(t *testing.T) {
	good := newCA(t, "P-256", far).cert
	for says, change := range map[string]func(*x509.Certificate){
		"basic constraints": func(c *x509.Certificate) { c.IsCA = false },
		"keyCertSign":       func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign },
		"not supported":     func(c *x509.Certificate) { c.PublicKey = nil },
	} {
		cert := *good
		change(&cert)
		if _, err := NewIssuer(&cert); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v; want an error that says %q", err, says)
		}
	}
	cert := *good
	cert.SubjectKeyId = nil
	issuer, err := NewIssuer(&cert)
	if err != nil || !bytes.Contains(issuer.authorityKeyID, good.SubjectKeyId) {
		t.Errorf("an issuer without key identifier: %x, %v", issuer.authorityKeyID, err)
	}
}

// Samples are certificates like others, two for each class of keys.
func TestSamples(t *testing.T) {
	ca := newCA(t, "P-256", far)
	for want, types := range map[int][]string{2: {"RSA-4096"}, 4: {"P-384", "Ed25519"}, 6: nil} {
		samples, err := compile(t, "p", Spec{KeyTypes: types}).Samples(ca.issuer, now)
		if err != nil || len(samples) != want {
			t.Errorf("%v: %d samples, %v; want %d", types, len(samples), err, want)
		}
		for _, sample := range samples {
			if cert := ca.sign(t, sample.DER); cert.CheckSignatureFrom(ca.cert) != nil || len(cert.OCSPServer) != 1 {
				t.Errorf("%v: an odd sample: %+v", types, cert)
			}
		}
	}
	expired := &Issuer{NotAfter: now}
	if _, err := compile(t, "p", Spec{}).Samples(expired, now); failure.KindOf(err) != failure.Unavailable || !strings.Contains(err.Error(), "profile p") {
		t.Errorf("under an expired issuer: %v", err)
	}
}

func BenchmarkToBeSigned(b *testing.B) {
	ca := newCA(b, "P-256", far)
	p := compile(b, "tls-server", Spec{})
	in := ca.input(b, "P-256", dns("a.example.corp"), dns("b.example.corp"), ip("10.0.0.1"))
	in.Wishes.CommonName = "a.example.corp"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.ToBeSigned(in); err != nil {
			b.Fatal(err)
		}
	}
}
