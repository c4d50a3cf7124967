package hierarchy

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/keys"
)

// authority is a CA outside of Chancery.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// newAuthority makes a CA below another, or a root when that is nil. Its
// template may be changed first.
func newAuthority(t *testing.T, name string, above *authority, change ...func(*x509.Certificate)) *authority {
	t.Helper()
	key, err := keys.Generate(rand.Reader, "P-256")
	if err != nil {
		t.Fatal(err)
	}
	return newAuthorityFor(t, key, name, above, change...)
}

func newAuthorityFor(t *testing.T, key crypto.Signer, name string, above *authority, change ...func(*x509.Certificate)) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(5),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		BasicConstraintsValid: true,
		IsCA:                  true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	for _, c := range change {
		c(template)
	}
	if above == nil {
		return &authority{sign(t, template, template, key.Public(), key), key}
	}
	return &authority{sign(t, template, above.cert, key.Public(), above.key), key}
}

// adoption writes a PKI to files and returns the options to adopt it.
func adoption(t *testing.T, root *authority, key crypto.Signer, intermediates ...*authority) AdoptOptions {
	t.Helper()
	dir := t.TempDir()
	var certs []*x509.Certificate
	for _, a := range intermediates {
		certs = append(certs, a.cert)
	}
	options := AdoptOptions{
		Dir:              filepath.Join(dir, "ca"),
		RootFile:         write(t, dir, "old-root.pem", encode(root.cert)),
		IntermediateFile: write(t, dir, "old-int.pem", encode(certs...)),
		KeyFile:          filepath.Join(dir, "old.key"),
	}
	if err := keys.WriteFile(options.KeyFile, key); err != nil {
		t.Fatal(err)
	}
	return options
}

func write(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAdopt(t *testing.T) {
	root := newAuthority(t, "root", nil)
	policy := newAuthority(t, "policy", root)
	issuing := newAuthority(t, "issuing", policy)
	// In any order, with the root and a stranger among them.
	options := adoption(t, root, issuing.key, root, newAuthority(t, "stranger", nil), policy, issuing)
	h, err := Adopt(options)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Intermediates) != 2 || !h.Issuer().Equal(issuing.cert) || !h.Intermediates[1].Equal(policy.cert) || !h.Root.Equal(root.cert) {
		t.Errorf("chain %v", h.Chain())
	}
	wantFiles(t, options.Dir, KeyFile, IntermediateFile, RootFile)
	cert := leaf(t, h, identifier.Identifier{Type: identifier.DNS, Value: "www.corp"})
	if err := verifyGo(h, cert); err != nil {
		t.Error(err)
	}
	if _, err := Adopt(options); !errors.Is(err, ErrExists) {
		t.Errorf("Adopt again: %v, want ErrExists", err)
	}
}

// A PKI made with openssl, its key sealed.
func TestAdoptFromOpenSSL(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	mustOpenSSL(t, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", path("root.key"), "-out", path("root.pem"),
		"-subj", "/CN=Old Root", "-days", "100", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
	mustOpenSSL(t, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-passout", "pass:old secret",
		"-keyout", path("int.key"), "-out", path("int.csr"), "-subj", "/CN=Old Issuing")
	extensions := write(t, dir, "ext", []byte("basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n"))
	mustOpenSSL(t, "x509", "-req", "-in", path("int.csr"), "-CA", path("root.pem"), "-CAkey", path("root.key"),
		"-CAcreateserial", "-extfile", extensions, "-days", "50", "-out", path("int.pem"))
	options := AdoptOptions{Dir: path("ca"), RootFile: path("root.pem"), IntermediateFile: path("int.pem"), KeyFile: path("int.key")}
	if _, err := Adopt(options); !errors.Is(err, keys.ErrSealed) {
		t.Errorf("without passphrase: %v, want ErrSealed", err)
	}
	options.KeyPassphrase = []byte("wrong")
	if _, err := Adopt(options); !errors.Is(err, keys.ErrPassphrase) {
		t.Errorf("with a wrong passphrase: %v, want ErrPassphrase", err)
	}
	options.KeyPassphrase = []byte("old secret")
	h, err := Adopt(options)
	if err != nil {
		t.Fatal(err)
	}
	cert := leaf(t, h, identifier.Identifier{Type: identifier.DNS, Value: "www.corp"})
	if err := verifyOpenSSL(t, options.Dir, cert); err != nil {
		t.Error(err)
	}
}

func TestAdoptRefuses(t *testing.T) {
	root := newAuthority(t, "root", nil)
	other := newAuthority(t, "other", nil)
	issuing := newAuthority(t, "issuing", root)
	below := func(change func(*x509.Certificate)) *authority { return newAuthority(t, "issuing", root, change) }
	narrow := newAuthority(t, "narrow", nil, func(c *x509.Certificate) { c.MaxPathLenZero = true })
	old := newAuthority(t, "old", nil, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	twin := newAuthorityFor(t, root.key, "root", nil, func(c *x509.Certificate) { c.SubjectKeyId = []byte("another") })
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		root, issuing *authority
		key           crypto.Signer // nil for the issuing one's
		says          string
	}{
		{other, issuing, nil, `"issuing" in DIR/old-int.pem is not signed by the root "other" in DIR/old-root.pem but by "root"`},
		{root, issuing, other.key, `the key does not belong to "issuing" in DIR/old-int.pem`},
		{root, issuing, root.key, "the key is that of the root"},
		{issuing, issuing, nil, `"issuing" in DIR/old-root.pem is signed by "root", so it is no root`},
		{root, below(func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, 0 }), nil, "is no CA certificate"},
		{root, below(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), nil, "lacks keyCertSign"},
		{narrow, newAuthority(t, "issuing", narrow), nil, `"narrow" in DIR/old-root.pem allows only 0 CAs below it`},
		{root, below(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), nil, `old-int.pem: the CA certificate "issuing" expired`},
		{root, below(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), nil, "is not valid before"},
		{old, newAuthority(t, "issuing", old), nil, `old-root.pem: the CA certificate "old" expired`},
		{twin, issuing, nil, "authorityKeyIdentifier"},
		{root, newAuthorityFor(t, small, "issuing", root), nil, "unfit: the RSA key has 1024 bits"},
		{root, below(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}), nil, "the critical extension 1.2.3"},
	} {
		key := test.key
		if key == nil {
			key = test.issuing.key
		}
		options := adoption(t, test.root, key, test.issuing)
		wantNothing(t, options, strings.ReplaceAll(test.says, "DIR", filepath.Dir(options.Dir)))
	}
}

// wantNothing fails the test unless Adopt refuses, says so, and leaves no
// directory.
func wantNothing(t *testing.T, options AdoptOptions, says string) {
	t.Helper()
	if _, err := Adopt(options); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("%v, want an error that says %q", err, says)
	}
	if exists(options.Dir) {
		t.Errorf("%q left the directory behind", says)
	}
}

func TestAdoptRefusesFiles(t *testing.T) {
	root := newAuthority(t, "root", nil)
	issuing := newAuthority(t, "issuing", root)
	for says, spoil := range map[string]func(*AdoptOptions) error{
		"no such file":   func(o *AdoptOptions) error { return os.Remove(o.RootFile) },
		"no certificate": func(o *AdoptOptions) error { return os.WriteFile(o.IntermediateFile, []byte("x"), 0o600) },
		"certificate 1 in": func(o *AdoptOptions) error {
			return os.WriteFile(o.RootFile, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), 0o600)
		},
		"chmod 600":      func(o *AdoptOptions) error { return os.Chmod(o.KeyFile, 0o644) },
		"no private key": func(o *AdoptOptions) error { return os.WriteFile(o.KeyFile, nil, 0o600) },
	} {
		options := adoption(t, root, issuing.key, issuing)
		if err := spoil(&options); err != nil {
			t.Fatal(err)
		}
		wantNothing(t, options, says)
	}
}

// A signature with SHA-1 is refused on an intermediate. On a root it is not
// looked at by anyone.
func TestAdoptSHA1(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	root := newAuthority(t, "root", nil)
	issuing := newAuthority(t, "issuing", root)
	for name, a := range map[string]*authority{"root": root, "int": issuing} {
		write(t, dir, name+".pem", encode(a.cert))
		if err := keys.WriteFile(path(name+".key"), a.key); err != nil {
			t.Fatal(err)
		}
	}
	mustOpenSSL(t, "x509", "-in", path("root.pem"), "-signkey", path("root.key"), "-sha1", "-out", path("root1.pem"), "-days", "10")
	mustOpenSSL(t, "req", "-new", "-key", path("int.key"), "-out", path("int.csr"), "-subj", "/CN=issuing", "-addext", "basicConstraints=CA:TRUE")
	mustOpenSSL(t, "x509", "-req", "-in", path("int.csr"), "-copy_extensions", "copy", "-CA", path("root.pem"), "-CAkey", path("root.key"),
		"-sha1", "-set_serial", "7", "-out", path("int1.pem"), "-days", "10")
	options := AdoptOptions{Dir: path("ca"), RootFile: path("root.pem"), IntermediateFile: path("int1.pem"), KeyFile: path("int.key")}
	wantNothing(t, options, `"issuing" in `+path("int1.pem")+" is signed with ECDSA-SHA1, which is broken")
	options.RootFile, options.IntermediateFile = path("root1.pem"), path("int.pem")
	if _, err := Adopt(options); err != nil {
		t.Errorf("a root signed with SHA-1: %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	root := newAuthority(t, "root", nil)
	issuing, other := newAuthority(t, "issuing", root), newAuthority(t, "other", nil)
	for says, spoil := range map[string]func(dir string) error{
		"root.pem is missing":         func(dir string) error { return os.Remove(filepath.Join(dir, RootFile)) },
		"intermediate.pem is missing": func(dir string) error { return os.Remove(filepath.Join(dir, IntermediateFile)) },
		"intermediate.key is missing": func(dir string) error { return os.Remove(filepath.Join(dir, KeyFile)) },
		"chmod 600":                   func(dir string) error { return os.Chmod(filepath.Join(dir, KeyFile), 0o640) },
		"is not signed by the root": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, RootFile), encode(other.cert), 0o600)
		},
		"the key does not belong to": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, IntermediateFile), encode(other.cert), 0o600)
		},
		"just the root": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, RootFile), encode(root.cert, other.cert), 0o600)
		},
	} {
		options := adoption(t, root, issuing.key, issuing)
		if _, err := Adopt(options); err != nil {
			t.Fatal(err)
		}
		if err := spoil(options.Dir); err != nil {
			t.Fatal(err)
		}
		_, err := Load(options.Dir)
		if err == nil || !strings.Contains(err.Error(), says) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v, want an error that says %q and is not fs.ErrNotExist", err, says)
		}
	}
}

func TestLoadNothing(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if _, err := Load(dir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "run: chancery init --dir "+dir) {
			t.Errorf("%v, want fs.ErrNotExist and what to run", err)
		}
	}
}

// The root's key can live elsewhere.
func TestLoadWithoutRootKey(t *testing.T) {
	h, dir := newCA(t)
	if err := os.Remove(filepath.Join(dir, RootKeyFile)); err != nil {
		t.Fatal(err)
	}
	again, err := Load(dir)
	if err != nil || !bytes.Equal(again.Root.Raw, h.Root.Raw) {
		t.Error(err)
	}
}
