package lint

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	zx509 "github.com/zmap/zcrypto/x509"
	zlint "github.com/zmap/zlint/v3/lint"

	"chancery/internal/duration"
	"chancery/internal/failure"
	"chancery/internal/profile"
	"chancery/internal/x509der"
)

var now = time.Date(2026, 11, 23, 20, 3, 4, 0, time.UTC)

// newIssuer makes a CA whose key is on the P-256 curve, or an Ed25519 one.
func newIssuer(t testing.TB, edwards bool) *profile.Issuer {
	t.Helper()
	var key crypto.Signer
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if edwards {
		if _, key, err = ed25519.GenerateKey(rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, NotBefore: now, NotAfter: now.AddDate(20, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := profile.NewIssuer(cert)
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

// What the profiles write passes every lint that applies, also in years when
// the public CAs' rules will be stricter.
func TestProfilesPass(t *testing.T) {
	specs := profile.Defaults()
	specs["long"] = profile.Spec{Validity: profile.Validity{Default: duration.Duration(10 * 365 * 24 * time.Hour)}}
	specs["signing"] = profile.Spec{KeyUsages: []string{"digitalSignature", "nonRepudiation"}, ExtendedKeyUsages: []string{"codeSigning", "emailProtection"}}
	specs["agreement"] = profile.Spec{KeyUsages: []string{"digitalSignature", "keyAgreement"}, KeyTypes: []string{"P-384"}, ExtendedKeyUsages: []string{"serverAuth", "1.3.6.1.5.5.7.3.17"}}
	specs["stamps"] = profile.Spec{ExtendedKeyUsages: []string{"timeStamping"}}
	linter := New()
	for _, issuer := range []*profile.Issuer{newIssuer(t, false), newIssuer(t, true)} {
		for name, spec := range specs {
			for _, when := range []time.Time{now, now.AddDate(3, 0, 0)} {
				for _, sample := range samples(t, name, spec, issuer, when) {
					if err := linter.CheckSample(sample.DER, issuer.Algorithm()); err != nil {
						t.Errorf("profile %s in %d: %v", name, when.Year(), err)
					}
					if err := linter.Check(sample.DER, issuer.Algorithm()); err != nil {
						t.Errorf("profile %s in %d: %v", name, when.Year(), err)
					}
				}
			}
		}
	}
}

func samples(t testing.TB, name string, spec profile.Spec, issuer *profile.Issuer, when time.Time) []profile.TBS {
	t.Helper()
	p, err := profile.Compile(name, spec)
	if err != nil {
		t.Fatal(err)
	}
	samples, err := p.Samples(issuer, when)
	if err != nil || len(samples) < 2 {
		t.Fatal(len(samples), err)
	}
	return samples
}

// Each flaw is found by the lint that is made for it.
func TestCheckFinds(t *testing.T) {
	linter := New()
	san := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: []byte{0x30, 3, 0x82, 1, 'a'}}
	for want, change := range map[string]func(*x509.Certificate){
		"":                                       func(*x509.Certificate) {},
		"e_ext_san_not_critical_without_subject": func(c *x509.Certificate) { c.DNSNames, c.ExtraExtensions = nil, []pkix.Extension{san} },
		"e_ext_duplicate_extension":              func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{san, san} },
		"e_ext_key_usage_cert_sign_without_ca":   func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign },
		"e_ecdsa_allowed_ku":                     func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment },
		"e_subject_common_name_max_length":       func(c *x509.Certificate) { c.Subject.CommonName = strings.Repeat("a", 65) },
		"e_rfc_dnsname_empty_label":              func(c *x509.Certificate) { c.DNSNames = []string{"a..b"} },
		"e_key_usage_and_extended_key_usage_inconsistent": func(c *x509.Certificate) {
			c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageKeyAgreement, []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
		},
	} {
		cert := flawed(t, change)
		err := linter.Check(cert.tbs, cert.algorithm)
		if want == "" && err != nil {
			t.Errorf("the certificate without flaws: %v", err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want) || failure.KindOf(err) != failure.Internal) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestCheckLooksOutside(t *testing.T) {
	cert := flawed(t, func(*x509.Certificate) {})
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := x509der.SignatureAlgorithm(edwards.Public())
	if err != nil {
		t.Fatal(err)
	}
	if err := New().Check(cert.tbs, other); err == nil || !strings.Contains(err.Error(), "e_cert_sig_alg_not_match_tbs_sig_alg") {
		t.Errorf("another algorithm outside: %v", err)
	}
	negative := bytes.Replace(cert.tbs, []byte{2, 1, 1}, []byte{2, 1, 0x81}, 1)
	if err := New().Check(negative, cert.algorithm); err == nil || !strings.Contains(err.Error(), "e_serial_number_not_positive") {
		t.Errorf("negative serial: %v", err)
	}
	for _, garbage := range [][]byte{nil, {0x30}, cert.tbs[:100]} {
		if err := New().Check(garbage, cert.algorithm); err == nil || !strings.Contains(err.Error(), "does not parse") {
			t.Errorf("garbage: %v", err)
		}
	}
}

type unsigned struct{ tbs, algorithm []byte }

func flawed(t *testing.T, change func(*x509.Certificate)) unsigned {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{Subject: pkix.Name{CommonName: "Test CA"}, SubjectKeyId: []byte{1}, PublicKey: key.Public()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: now.AddDate(0, 0, 1), SubjectKeyId: []byte{2},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, DNSNames: []string{"a"}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)},
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	var outer struct{ TBS, Algorithm, Signature asn1.RawValue }
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		t.Fatal(err)
	}
	return unsigned{outer.TBS.FullBytes, outer.Algorithm.FullBytes}
}

// An exclusion of a lint that is not there excludes nothing: a newer zlint has
// renamed it.
func TestExclusionsExist(t *testing.T) {
	lints := zlint.GlobalRegistry().CertificateLints()
	for name := range exclusions() {
		if lints.ByName(name) == nil {
			t.Errorf("there is no lint %s", name)
		}
	}
	linter := New()
	if len(linter.fast) < 90 || len(linter.all) < len(linter.fast)+100 {
		t.Errorf("%d fast lints of %d; some are missing", len(linter.fast), len(linter.all))
	}
}

// A lint that is left out for want of an extension does not apply without it,
// and is not left out where it is.
func TestRareExtensions(t *testing.T) {
	linter, seen := New(), map[string]bool{}
	for _, ca := range []bool{false, true} {
		cert := flawed(t, func(c *x509.Certificate) { c.IsCA = ca })
		parsed, err := zx509.ParseCertificate(x509der.Assemble(cert.tbs, cert.algorithm, make([]byte, 64)))
		if err != nil {
			t.Fatal(err)
		}
		for _, lint := range linter.fast {
			about := linter.about[lint.Name]
			if result := lint.Execute(parsed, linter.config); about != "" && result.Status != zlint.NA {
				t.Errorf("%s applies without %s: %v", lint.Name, about, result.Status)
			}
			seen[about] = true
		}
	}
	for beginning, extension := range rareExtensions() {
		if !seen[extension] {
			t.Errorf("no lint is about %s (%s)", extension, beginning)
		}
	}
	inhibit := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 54}, Value: []byte{2, 1, 0}}
	cert := flawed(t, func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{inhibit} })
	if err := linter.Check(cert.tbs, cert.algorithm); err == nil || !strings.Contains(err.Error(), "e_inhibit_any_policy_not_critical") {
		t.Errorf("an extension that must be critical: %v", err)
	}
}

func BenchmarkCheck(b *testing.B) {
	issuer, linter := newIssuer(b, false), New()
	tbs := samples(b, "tls-server", profile.Spec{}, issuer, now)[0].DER
	b.ReportAllocs()
	for b.Loop() {
		if err := linter.Check(tbs, issuer.Algorithm()); err != nil {
			b.Fatal(err)
		}
	}
}

// What loading the built-in profiles costs, the Linter included.
func BenchmarkLoad(b *testing.B) {
	issuer := newIssuer(b, false)
	for b.Loop() {
		linter := New()
		for name, spec := range profile.Defaults() {
			for _, sample := range samples(b, name, spec, issuer, now) {
				if err := linter.CheckSample(sample.DER, issuer.Algorithm()); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}
