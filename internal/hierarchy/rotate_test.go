package hierarchy

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chancery/internal/keys"
)

var rotatePassphrase = []byte("passphrase")

// rotated makes a CA and returns the files of its default issuer.
func rotated(t *testing.T, options Options) (*Hierarchy, IssuerFiles) {
	t.Helper()
	options.Dir, options.Passphrase = t.TempDir(), rotatePassphrase
	h, err := Create(options)
	if err != nil {
		t.Fatal(err)
	}
	return h, IssuerFiles{Dir: options.Dir, Name: DefaultIssuer, Certificate: IntermediateFile, Key: KeyFile}
}

func mustLoad(t *testing.T, files IssuerFiles, count int) []*Generation {
	t.Helper()
	generations, err := LoadIssuer(files)
	if err != nil || len(generations) != count {
		t.Fatalf("%d generations, %v; want %d", len(generations), err, count)
	}
	return generations
}

// verifyChain has the standard library verify an issuing certificate.
func verifyChain(t *testing.T, g *Generation) {
	t.Helper()
	roots, above := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(g.Chain[len(g.Chain)-1])
	for _, c := range g.Chain[1:] {
		above.AddCert(c)
	}
	if _, err := g.Issuer().Verify(x509.VerifyOptions{Roots: roots, Intermediates: above, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		t.Error(err)
	}
}

func TestRotate(t *testing.T) {
	h, files := rotated(t, Options{Name: "Corp", KeyType: "P-384", Permit: []string{"corp.example", "10.0.0.0/8"}})
	first := mustLoad(t, files, 1)[0]
	if first.Number != 1 || !first.Issuer().Equal(h.Issuer()) {
		t.Errorf("the first generation is %d %s", first.Number, first.Issuer().Subject)
	}
	for number := 2; number <= 3; number++ {
		made, err := Rotate(RotateOptions{Files: files, Passphrase: rotatePassphrase})
		if err != nil {
			t.Fatal(err)
		}
		newest := mustLoad(t, files, number)[number-1]
		c := newest.Issuer()
		if made.Number != number || newest.Number != number || !c.Equal(made.Issuer()) || c.Equal(first.Issuer()) {
			t.Errorf("generation %d is %d", number, newest.Number)
		}
		if c.Subject.Organization[0] != "Corp" || keys.TypeOf(c.PublicKey) != "P-384" || !c.MaxPathLenZero || c.KeyUsage != first.Issuer().KeyUsage {
			t.Errorf("the certificate is not like the first: %s %s", c.Subject, keys.TypeOf(c.PublicKey))
		}
		if c.PermittedDNSDomains[0] != "corp.example" || len(c.PermittedIPRanges) != 1 || !c.PermittedDNSDomainsCritical {
			t.Error("the root's name constraints are missing")
		}
		verifyChain(t, newest)
		signer, err := newest.Signer(nil)
		if err != nil || !isKeyOf(located{c, ""}, signer.Public()) {
			t.Errorf("the key: %v", err)
		}
		if info, err := os.Stat(newest.Key); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the key's file: %v, %v", info.Mode(), err)
		}
	}
}

func TestRotateOtherIssuer(t *testing.T) {
	_, files := rotated(t, Options{})
	files.Name, files.Certificate, files.Key = "mesh", "", ""
	if _, err := LoadIssuer(files); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "chancery issuer rotate mesh") {
		t.Errorf("an issuer without a certificate: %v", err)
	}
	now := time.Now()
	made, err := Rotate(RotateOptions{Files: files, Passphrase: rotatePassphrase, PathLength: 1, Key: NewKey{Type: "RSA-2048"}, Lifetime: 100 * year})
	if err != nil {
		t.Fatal(err)
	}
	c, root := made.Issuer(), made.Chain[1]
	if made.Number != 1 || c.MaxPathLen != 1 || keys.TypeOf(c.PublicKey) != "RSA-2048" || !c.NotAfter.Equal(root.NotAfter) || c.NotBefore.After(now) {
		t.Errorf("generation %d, path length %d, %s, until %s", made.Number, c.MaxPathLen, keys.TypeOf(c.PublicKey), c.NotAfter)
	}
	mustLoad(t, files, 1)
}

func TestRotateRefuses(t *testing.T) {
	_, files := rotated(t, Options{})
	_, other := rotated(t, Options{})
	for want, options := range map[string]RotateOptions{
		keys.ErrPassphrase.Error():        {Files: files, Passphrase: []byte("wrong")},
		keys.ErrSealed.Error():            {Files: files},
		"the root's key is not here":      {Files: files, Passphrase: rotatePassphrase, RootKey: "none.key"},
		"the root's key is not that of":   {Files: files, Passphrase: rotatePassphrase, RootKey: filepath.Join(other.Dir, RootKeyFile)},
		"there is no key type \"RSA-12\"": {Files: files, Passphrase: rotatePassphrase, Key: NewKey{Type: "RSA-12"}},
	} {
		if _, err := Rotate(options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	mustLoad(t, files, 1)
}

// What a crash leaves of a generation is not seen, and goes with the next.
func TestRotateAfterCrash(t *testing.T) {
	_, files := rotated(t, Options{})
	staged := files.dir(newestDirPrefix + "0002")
	if err := os.MkdirAll(staged, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(staged, generationKey), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustLoad(t, files, 1)
	if _, err := Rotate(RotateOptions{Files: files, Passphrase: rotatePassphrase}); err != nil {
		t.Fatal(err)
	}
	mustLoad(t, files, 2)
	if exists(staged) {
		t.Error("the leftovers are still there")
	}
}

// A key that was destroyed does not keep what it has signed from verifying.
func TestOldKeyIsTakenAway(t *testing.T) {
	_, files := rotated(t, Options{})
	if _, err := Rotate(RotateOptions{Files: files, Passphrase: rotatePassphrase}); err != nil {
		t.Fatal(err)
	}
	made, err := Rotate(RotateOptions{Files: files, Passphrase: rotatePassphrase})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(files.dir("0002", generationKey)); err != nil {
		t.Fatal(err)
	}
	generations := mustLoad(t, files, 3)
	if _, err := generations[1].Signer(nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the key that is gone: %v", err)
	}
	if _, err := generations[2].Signer(nil); err != nil || !generations[2].Issuer().Equal(made.Issuer()) {
		t.Errorf("the newest: %v", err)
	}
}

// A key that a helper holds is kept as its URI.
func TestRotateWithHelper(t *testing.T) {
	_, files := rotated(t, Options{})
	held, err := keys.Generate(rand.Reader, "P-256")
	if err != nil {
		t.Fatal(err)
	}
	const uri = "pkcs11:token=ca;object=second"
	if _, err := Rotate(RotateOptions{Files: files, Passphrase: rotatePassphrase, Key: NewKey{URI: uri, Signer: held}}); err != nil {
		t.Fatal(err)
	}
	newest := mustLoad(t, files, 2)[1]
	signer, err := newest.Signer(func(named string, public crypto.PublicKey) (crypto.Signer, error) {
		if named != uri || !held.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(public) {
			t.Errorf("opened %s", named)
		}
		return held, nil
	})
	if err != nil || signer != held {
		t.Errorf("%v, %v", signer, err)
	}
}

// answer signs a request as the root of a CA would.
func answer(t *testing.T, dir string, request []byte) string {
	t.Helper()
	block, _ := pem.Decode(request)
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || csr.CheckSignature() != nil {
		t.Fatal(err)
	}
	root, err := readRoot(filepath.Join(dir, RootFile))
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.ReadSealedFile(filepath.Join(dir, RootKeyFile), rotatePassphrase)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(77), Subject: csr.Subject, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(year),
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, root.Certificate, csr.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "answer.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestIssuerRequestAndAccept(t *testing.T) {
	_, files := rotated(t, Options{Name: "Corp"})
	request, err := RequestIssuer(RotateOptions{Files: files})
	if err != nil {
		t.Fatal(err)
	}
	again, err := RequestIssuer(RotateOptions{Files: files})
	if err != nil || string(again) != string(request) {
		t.Errorf("asked again: %s, %v", again, err)
	}
	mustLoad(t, files, 1)
	_, other := rotated(t, Options{})
	if _, err := AcceptIssuer(AcceptIssuerOptions{Files: files, CertificateFile: answer(t, other.Dir, request)}); err == nil {
		t.Error("another root's answer was taken")
	}
	accepted, err := AcceptIssuer(AcceptIssuerOptions{Files: files, CertificateFile: answer(t, files.Dir, request)})
	if err != nil {
		t.Fatal(err)
	}
	if accepted.Number != 2 || accepted.Issuer().Subject.Organization[0] != "Corp" {
		t.Errorf("accepted %d %s", accepted.Number, accepted.Issuer().Subject)
	}
	verifyChain(t, accepted)
	mustLoad(t, files, 2)
	if _, err := AcceptIssuer(AcceptIssuerOptions{Files: files}); err == nil || !strings.Contains(err.Error(), "no request waits") {
		t.Errorf("accepted twice: %v", err)
	}
}

// A new root comes with the answer, and only for that generation.
func TestAcceptUnderAnotherRoot(t *testing.T) {
	_, files := rotated(t, Options{})
	_, other := rotated(t, Options{})
	request, err := RequestIssuer(RotateOptions{Files: files})
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := AcceptIssuer(AcceptIssuerOptions{
		Files: files, CertificateFile: answer(t, other.Dir, request), RootFile: filepath.Join(other.Dir, RootFile),
	})
	if err != nil {
		t.Fatal(err)
	}
	verifyChain(t, accepted)
	generations := mustLoad(t, files, 2)
	if generations[0].Chain[1].Equal(generations[1].Chain[1]) {
		t.Error("both have the same root")
	}
}

// crossSign makes another certificate for a key, by another CA's root.
func crossSign(t *testing.T, of *x509.Certificate, by string, change func(*x509.Certificate)) string {
	t.Helper()
	root, err := readRoot(filepath.Join(by, RootFile))
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.ReadSealedFile(filepath.Join(by, RootKeyFile), rotatePassphrase)
	if err != nil {
		t.Fatal(err)
	}
	template := *of
	template.SerialNumber, template.AuthorityKeyId = big.NewInt(99), nil
	if change != nil {
		change(&template)
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, root.Certificate, of.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cross.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), encode(root.Certificate)...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAlternates(t *testing.T) {
	h, files := rotated(t, Options{})
	_, other := rotated(t, Options{})
	if _, err := Rotate(RotateOptions{Files: files, Passphrase: rotatePassphrase}); err != nil {
		t.Fatal(err)
	}
	files.Alternates = []string{crossSign(t, h.Issuer(), other.Dir, nil)}
	generations := mustLoad(t, files, 2)
	if len(generations[0].Alternates) != 1 || len(generations[0].Alternates[0]) != 1 || len(generations[1].Alternates) != 0 {
		t.Fatalf("alternates %v and %v", generations[0].Alternates, generations[1].Alternates)
	}
	verifyChain(t, &Generation{Chain: append(generations[0].Alternates[0], mustRoot(t, other.Dir))})

	for want, path := range map[string]string{
		"another subject than the issuer": crossSign(t, h.Issuer(), other.Dir, func(c *x509.Certificate) { c.Subject.CommonName, c.RawSubject = "x", nil }),
		"another subject key identifier":  crossSign(t, h.Issuer(), other.Dir, func(c *x509.Certificate) { c.SubjectKeyId = []byte{1} }),
		"is no CA certificate":            crossSign(t, h.Issuer(), other.Dir, func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero, c.KeyUsage = false, false, 0 }),
		"for none of the issuer's keys":   filepath.Join(other.Dir, IntermediateFile),
		"no such file":                    "none.pem",
	} {
		files.Alternates = []string{path}
		if _, err := LoadIssuer(files); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func mustRoot(t *testing.T, dir string) *x509.Certificate {
	t.Helper()
	root, err := readRoot(filepath.Join(dir, RootFile))
	if err != nil {
		t.Fatal(err)
	}
	return root.Certificate
}

// An adopted key that a helper holds is a URI in the key's file.
func TestAdoptWithHelper(t *testing.T) {
	h, from := rotated(t, Options{})
	const uri = "pkcs11:token=ca;object=issuing"
	dir := t.TempDir()
	adopted, err := Adopt(AdoptOptions{
		Dir: dir, RootFile: filepath.Join(from.Dir, RootFile), IntermediateFile: filepath.Join(from.Dir, IntermediateFile),
		KeyFile: uri, Signer: h.Signer,
	})
	if err != nil {
		t.Fatal(err)
	}
	if adopted.KeyURI != uri || adopted.Signer != nil || !adopted.Issuer().Equal(h.Issuer()) {
		t.Errorf("adopted %+v", adopted)
	}
	from.Dir = dir
	if g := mustLoad(t, from, 1)[0]; g.Key != uri {
		t.Errorf("the key is %s", g.Key)
	}
}
