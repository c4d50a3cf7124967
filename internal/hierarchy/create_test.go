package hierarchy

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/keys"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"
)

var passphrase = []byte("correct horse")

// newCA creates a CA in a new directory. Its options may be changed first.
func newCA(t *testing.T, change ...func(*Options)) (*Hierarchy, string) {
	t.Helper()
	options := Options{Dir: filepath.Join(t.TempDir(), "ca"), Passphrase: passphrase}
	for _, c := range change {
		c(&options)
	}
	h, err := Create(options)
	if err != nil {
		t.Fatal(err)
	}
	return h, options.Dir
}

// openssl runs the real program.
func openssl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput()
	return string(out), err
}

// mustOpenSSL runs the real program and fails the test if that fails.
func mustOpenSSL(t *testing.T, args ...string) string {
	t.Helper()
	out, err := openssl(t, args...)
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// leaf issues a server certificate for names and addresses.
func leaf(t *testing.T, h *Hierarchy, ids ...identifier.Identifier) *x509.Certificate {
	t.Helper()
	key, err := keys.Generate(rand.Reader, "P-256")
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7),
		Subject:      pkix.Name{Organization: []string{"test"}},
		NotBefore:    h.Issuer().NotBefore,
		NotAfter:     h.Issuer().NotBefore.Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, id := range ids {
		if id.Type == identifier.DNS {
			template.DNSNames = append(template.DNSNames, id.Value)
		} else {
			template.IPAddresses = append(template.IPAddresses, net.IP(id.Addr().AsSlice()))
		}
	}
	return sign(t, template, h.Issuer(), key.Public(), h.Signer)
}

func sign(t *testing.T, template, parent *x509.Certificate, pub crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// verifyGo verifies a leaf as a TLS client in Go does.
func verifyGo(h *Hierarchy, leaf *x509.Certificate) error {
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: leaf.NotBefore}
	options.Roots.AddCert(h.Root)
	for _, cert := range h.Intermediates {
		options.Intermediates.AddCert(cert)
	}
	_, err := leaf.Verify(options)
	return err
}

// verifyOpenSSL verifies a leaf with the real program.
func verifyOpenSSL(t *testing.T, dir string, leaf *x509.Certificate) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "leaf.pem")
	if err := os.WriteFile(path, encode(leaf), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := openssl(t, "verify", "-x509_strict", "-purpose", "sslserver",
		"-CAfile", filepath.Join(dir, RootFile), "-untrusted", filepath.Join(dir, IntermediateFile), path)
	if err != nil {
		return errors.New(out)
	}
	return nil
}

func TestCreate(t *testing.T) {
	for _, typ := range []string{"", "P-384", "Ed25519", "RSA-2048"} {
		h, dir := newCA(t, func(o *Options) { o.KeyType = typ })
		cert := leaf(t, h, identifier.Identifier{Type: identifier.DNS, Value: "www.example.corp"})
		if err := verifyGo(h, cert); err != nil {
			t.Errorf("%s: Go: %v", typ, err)
		}
		if err := verifyOpenSSL(t, dir, cert); err != nil {
			t.Errorf("%s: openssl: %v", typ, err)
		}
	}
}

func TestCreateFiles(t *testing.T) {
	h, dir := newCA(t)
	for name, mode := range map[string]fs.FileMode{RootFile: 0o644, RootListFile: 0o644, RootKeyFile: 0o600, IntermediateFile: 0o644, KeyFile: 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: mode %v, %v; want %v", name, info.Mode(), err, mode)
		}
	}
	wantFiles(t, dir, KeyFile, IntermediateFile, RootListFile, RootKeyFile, RootFile)
	rootKey, err := keys.ReadSealedFile(filepath.Join(dir, RootKeyFile), passphrase)
	if err != nil || !isKeyOf(located{h.Root, ""}, rootKey.Public()) {
		t.Errorf("the root's key: %v", err)
	}
	again, err := Load(dir)
	if err != nil || !again.Root.Equal(h.Root) || !again.Issuer().Equal(h.Issuer()) {
		t.Errorf("Load after Create: %v", err)
	}
}

// wantFiles fails the test unless the directory holds just these names.
func wantFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("%s holds %v, want %v", dir, got, names)
	}
}

func TestCertificatesHaveTheirProfile(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 5, time.UTC)
	h, dir := newCA(t, func(o *Options) { o.Name, o.Now = "Example", func() time.Time { return now } })
	for _, test := range []struct {
		cert  *x509.Certificate
		file  string
		cn    string
		until time.Time
		says  []string
	}{
		{h.Root, RootFile, "Example Root CA ", now.Add(20 * 365 * 24 * time.Hour), []string{
			"X509v3 Basic Constraints: critical\n                CA:TRUE\n",
			"X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n"}},
		{h.Issuer(), IntermediateFile, "Example Intermediate CA ", now.Add(10 * 365 * 24 * time.Hour), []string{
			"X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0\n",
			"X509v3 Key Usage: critical\n                Digital Signature, Certificate Sign, CRL Sign\n",
			"X509v3 Authority Key Identifier"}},
	} {
		path := filepath.Join(dir, test.file)
		text := mustOpenSSL(t, "x509", "-in", path, "-noout", "-text")
		for _, says := range append(test.says, "X509v3 Subject Key Identifier", "O = Example, CN = "+test.cn) {
			if !strings.Contains(text, says) {
				t.Errorf("%s: openssl does not print %q but\n%s", test.file, says, text)
			}
		}
		if print := mustOpenSSL(t, "x509", "-in", path, "-noout", "-fingerprint", "-sha256"); !strings.Contains(print, "="+Fingerprint(test.cert)+"\n") {
			t.Errorf("%s: openssl prints %s, Fingerprint gives %s", test.file, print, Fingerprint(test.cert))
		}
		serial := test.cert.SerialNumber.Bytes()
		if len(serial) != 20 || serial[0] > 0x7f {
			t.Errorf("%s: serial %x", test.file, serial)
		}
		if ski, err := keys.SKI(test.cert.PublicKey); err != nil || !bytes.Equal(ski, test.cert.SubjectKeyId) {
			t.Errorf("%s: subject key identifier %x, %v", test.file, test.cert.SubjectKeyId, err)
		}
		if !test.cert.NotBefore.Equal(now.Truncate(time.Second).Add(-time.Minute)) || !test.cert.NotAfter.Equal(test.until.Truncate(time.Second)) {
			t.Errorf("%s: valid from %v to %v", test.file, test.cert.NotBefore, test.cert.NotAfter)
		}
	}
}

// The lints that RFC 5280 is the source of, and those on names and keys that
// do not presume the web's PKI.
func TestCertificatesPassLint(t *testing.T) {
	registry, err := lint.GlobalRegistry().Filter(lint.FilterOptions{IncludeSources: lint.SourceList{lint.RFC5280, lint.RFC5480, lint.RFC8813, lint.RFC3279, lint.Community}})
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"P-256":    func(*Options) {},
		"RSA":      func(o *Options) { o.KeyType = "RSA-2048" },
		"domain":   func(o *Options) { o.Permit = []string{"corp.example"} },
		"ranges":   func(o *Options) { o.Permit = []string{"10.0.0.0/8", "fd00::/8"} },
		"umlaut":   func(o *Options) { o.Name = "Bäckerei Müller & Söhne" },
		"100years": func(o *Options) { o.RootLifetime, o.IntermediateLifetime = 100*year, 50*year },
	} {
		h, _ := newCA(t, change)
		for _, cert := range h.Chain() {
			parsed, err := zx509.ParseCertificate(cert.Raw)
			if err != nil {
				t.Fatal(err)
			}
			for rule, result := range zlint.LintCertificateEx(parsed, registry).Results {
				if result.Status > lint.Pass {
					t.Errorf("%s: %q: %s: %v %s", name, cert.Subject.CommonName, rule, result.Status, result.Details)
				}
			}
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	for _, test := range []struct {
		change func(*Options)
		says   string
	}{
		{func(o *Options) { o.Passphrase = nil }, "passphrase for the root's key is empty"},
		{func(o *Options) { o.KeyType = "P-224" }, `no key type "P-224"`},
		{func(o *Options) { o.Name = strings.Repeat("x", 40) }, "40 characters"},
		{func(o *Options) { o.Name = "a\nb" }, "cannot be printed"},
		{func(o *Options) { o.Name = " a" }, "begins or ends with a space"},
		{func(o *Options) { o.RootLifetime = -1 }, "negative"},
		{func(o *Options) { o.Permit = []string{"*.corp.example"} }, "write corp.example"},
		{func(o *Options) { o.Rand = bytes.NewReader(nil) }, "EOF"},
	} {
		options := Options{Dir: filepath.Join(t.TempDir(), "ca"), Passphrase: passphrase}
		test.change(&options)
		if _, err := Create(options); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v, want an error that says %q", err, test.says)
		}
		if exists(options.Dir) {
			t.Errorf("%q left the directory behind", test.says)
		}
	}
}

func TestCreateNeverOverwrites(t *testing.T) {
	for _, name := range []string{RootFile, RootKeyFile, IntermediateFile, KeyFile, RequestFile, RootListFile} {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Create(Options{Dir: dir, Passphrase: passphrase})
		if !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), path) {
			t.Errorf("Create beside %s: %v, want ErrExists", name, err)
		}
		if data, err := os.ReadFile(path); string(data) != "precious" {
			t.Errorf("%s now holds %q, %v", name, data, err)
		}
		wantFiles(t, dir, name)
	}
}

func TestIntermediateNeverOutlivesRoot(t *testing.T) {
	h, _ := newCA(t, func(o *Options) { o.RootLifetime, o.IntermediateLifetime = year, 5*year })
	if h.Issuer().NotAfter.After(h.Root.NotAfter) {
		t.Errorf("the intermediate ends %v, the root %v", h.Issuer().NotAfter, h.Root.NotAfter)
	}
}

func TestCheckTime(t *testing.T) {
	h, _ := newCA(t)
	for _, test := range []struct {
		now  time.Time
		says string
	}{
		{h.Issuer().NotBefore.Add(-time.Second), "not valid before"},
		{h.Issuer().NotAfter.Add(time.Second), "Intermediate CA"},
		{h.Root.NotAfter.Add(time.Second), "expired on"},
	} {
		if err := h.CheckTime(test.now); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v, want an error that says %q", err, test.says)
		}
	}
	if err := h.CheckTime(time.Now()); err != nil {
		t.Error(err)
	}
}

func TestGeneratePassphrase(t *testing.T) {
	random := make([]byte, 28)
	for i := range random {
		random[i] = byte(i * 37)
	}
	got, err := GeneratePassphrase(bytes.NewReader(random))
	if err != nil || len(got) != 34 || strings.Count(got, "-") != 6 {
		t.Errorf("%q, %v; want seven groups of four", got, err)
	}
	again, err := GeneratePassphrase(rand.Reader)
	if err != nil || again == got {
		t.Errorf("%q twice, %v", got, err)
	}
	if _, err := GeneratePassphrase(bytes.NewReader(nil)); err == nil {
		t.Error("a passphrase without randomness")
	}
}
