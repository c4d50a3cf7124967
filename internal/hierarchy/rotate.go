package hierarchy

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"chancery/internal/keys"
)

// NewKey says which key a new generation gets. With URI and Signer it is one
// that a helper holds; else one is made, of type Type.
type NewKey struct {
	Type   string // as keys.TypeOf names it; default: as the generation before
	URI    string
	Signer crypto.Signer
}

// RotateOptions say what generation to make.
type RotateOptions struct {
	Files       IssuerFiles
	Key         NewKey
	RootKey     string        // the file of the root's key; "" for RootKeyFile
	Passphrase  []byte        // opens it
	Lifetime    time.Duration // default 10 years of 365 days; cut to the root's
	PathLength  int           // how many CAs may be below it
	RootListURL RootListURL   // for the certificate; nil for none
	Now         func() time.Time
	Rand        io.Reader
}

// Rotate makes a new generation of an issuer, signed by the root's key at hand,
// with the root's name constraints, and renews the root's revocation list.
// It takes effect where the issuer is loaded
// again; nothing that exists is changed. A crash leaves the generation whole
// or nothing of it. Callers hold a lock.
func Rotate(options RotateOptions) (*Generation, error) {
	generation, err := options.rotate()
	if err != nil {
		return nil, fmt.Errorf("couldn't rotate the issuer %s: %w", options.Files.Name, err)
	}
	return generation, nil
}

func (o RotateOptions) rotate() (*Generation, error) {
	root, err := readRoot(o.Files.root())
	if err != nil {
		return nil, err
	}
	rootKey, err := keys.ReadSealedFile(o.Files.path(cmp.Or(o.RootKey, RootKeyFile)), o.Passphrase)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the root's key is not here: %w; bring it back for the moment, or use: chancery issuer request %s --csr-out FILE", err, o.Files.Name)
	}
	if err != nil {
		return nil, err
	}
	if !isKeyOf(root, rootKey.Public()) {
		return nil, fmt.Errorf("the root's key is not that of %v", root)
	}
	if !o.Files.sameRoot(root) { // whoever has that root looks after its list
		o.RootListURL = nil
	}
	maker := o.issuerOptions(root.Certificate)
	template, signer, err := maker.intermediateTemplate(o.Key.Signer)
	if err != nil {
		return nil, err
	}
	constrainAs(template, root.Certificate)
	template.MaxPathLen, template.MaxPathLenZero = o.PathLength, o.PathLength == 0
	certificate, err := maker.signIntermediate(template, root.Certificate, signer.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	key, err := keyFile(signer, o.Key.URI)
	if err != nil {
		return nil, err
	}
	if o.Files.sameRoot(root) {
		if _, err := (RootListOptions{Dir: o.Files.Dir, Now: o.Now}).replace(root.Certificate, rootKey); err != nil {
			return nil, err
		}
	}
	return o.Files.install([]file{key, {generationFile, encode(certificate), certificatePerm}})
}

// sameRoot reports whether a root is that of the CA itself.
func (f IssuerFiles) sameRoot(root located) bool {
	own, err := readRoot(f.path(RootFile))
	return err == nil && own.Equal(root.Certificate)
}

// issuerOptions are the options by which Create would make the intermediate of
// a root.
func (o RotateOptions) issuerOptions(root *x509.Certificate) Options {
	made := Options{
		IntermediateLifetime: o.Lifetime, KeyType: o.Key.Type, RootListURL: o.RootListURL, Now: o.Now, Rand: o.Rand,
	}
	if len(root.Subject.Organization) > 0 {
		made.Name = root.Subject.Organization[0]
	}
	if made.KeyType == "" {
		made.KeyType = o.Files.keyType()
	}
	return made.withDefaults()
}

// keyType is the type of the key that signs now; "" when there is none.
func (f IssuerFiles) keyType() string {
	generations, err := f.load()
	if err != nil {
		return ""
	}
	return keys.TypeOf(generations[len(generations)-1].Issuer().PublicKey)
}

// constrainAs copies the name constraints of a parent: some relying parties
// ignore those of a trust anchor.
func constrainAs(template, parent *x509.Certificate) {
	template.PermittedDNSDomainsCritical = parent.PermittedDNSDomainsCritical
	template.PermittedDNSDomains, template.ExcludedDNSDomains = parent.PermittedDNSDomains, parent.ExcludedDNSDomains
	template.PermittedIPRanges, template.ExcludedIPRanges = parent.PermittedIPRanges, parent.ExcludedIPRanges
	template.PermittedEmailAddresses, template.ExcludedEmailAddresses = parent.PermittedEmailAddresses, parent.ExcludedEmailAddresses
	template.PermittedURIDomains, template.ExcludedURIDomains = parent.PermittedURIDomains, parent.ExcludedURIDomains
}

// keyFile is the file that says what the key of a generation is.
func keyFile(signer crypto.Signer, uri string) (file, error) {
	if uri != "" {
		return file{generationKey, []byte(uri + "\n"), keyPerm}, nil
	}
	plain, err := keys.Marshal(signer)
	return file{generationKey, plain, keyPerm}, err
}

// install writes the files of the next generation, and reads it.
func (f IssuerFiles) install(files []file) (*Generation, error) {
	numbers, err := f.numbers()
	if err != nil {
		return nil, err
	}
	number := 1
	if f.Certificate != "" {
		number = 2
	}
	if len(numbers) > 0 {
		number = max(number, numbers[len(numbers)-1]+1)
	}
	if err := f.place(generationName(number), files); err != nil {
		return nil, err
	}
	return f.loadNumber(number)
}

// place makes a directory of the issuer appear whole under a name that is not
// taken.
func (f IssuerFiles) place(name string, files []file) error {
	dir := f.dir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, parent := range []string{f.Dir, filepath.Dir(dir)} {
		if err := keys.SyncDir(parent); err != nil {
			return err
		}
	}
	if err := f.removeStaged(); err != nil {
		return err
	}
	staged := filepath.Join(dir, newestDirPrefix+name)
	if err := os.Mkdir(staged, 0o700); err != nil {
		return err
	}
	for _, file := range files {
		if err := keys.WriteNew(filepath.Join(staged, file.name), file.data, file.perm); err != nil {
			return err
		}
	}
	if err := os.Rename(staged, filepath.Join(dir, name)); err != nil { // fails on a directory that has files
		return err
	}
	return keys.SyncDir(dir)
}

// removeStaged removes what a crash has left.
func (f IssuerFiles) removeStaged() error {
	entries, err := os.ReadDir(f.dir())
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), newestDirPrefix) {
			err = errors.Join(err, os.RemoveAll(f.dir(entry.Name())))
		}
	}
	return err
}

// RequestIssuer makes the key of a new generation and a signing request for it,
// keeps both until AcceptIssuer, and returns the request as PEM. When one
// waits already it returns that.
func RequestIssuer(options RotateOptions) ([]byte, error) {
	request, err := options.request()
	if err != nil {
		return nil, fmt.Errorf("couldn't request a certificate for the issuer %s: %w", options.Files.Name, err)
	}
	return request, nil
}

func (o RotateOptions) request() ([]byte, error) {
	waiting, err := os.ReadFile(o.Files.dir(pendingDir, pendingFile))
	if !errors.Is(err, fs.ErrNotExist) {
		return waiting, err
	}
	root, err := readRoot(o.Files.root())
	if err != nil {
		return nil, err
	}
	maker := o.issuerOptions(root.Certificate)
	subject, _, signer, err := maker.subjectFor("Intermediate CA", o.Key.Signer)
	if err != nil {
		return nil, err
	}
	template := &x509.CertificateRequest{Subject: subject, ExtraExtensions: requestedExtensions(o.PathLength)}
	der, err := x509.CreateCertificateRequest(maker.Rand, template, signer)
	if err != nil {
		return nil, err
	}
	key, err := keyFile(signer, o.Key.URI)
	if err != nil {
		return nil, err
	}
	request := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	return request, o.Files.place(pendingDir, []file{key, {pendingFile, request, certificatePerm}})
}

// AcceptIssuerOptions name the answer to a request.
type AcceptIssuerOptions struct {
	Files           IssuerFiles
	CertificateFile string // the certificate for the waiting key, others of its chain, perhaps the root
	RootFile        string // holds the self-signed certificate, when it is another than the issuer's
	Open            func(uri string) (crypto.Signer, error)
	Check           Check
	Now             func() time.Time
}

// AcceptIssuer makes a generation of what RequestIssuer began, with the same
// checks as Adopt.
func AcceptIssuer(options AcceptIssuerOptions) (*Generation, error) {
	generation, err := options.accept()
	if err != nil {
		return nil, fmt.Errorf("couldn't accept the certificate of the issuer %s: %w", options.Files.Name, err)
	}
	return generation, nil
}

func (o AcceptIssuerOptions) accept() (*Generation, error) {
	f := o.Files
	if !exists(f.dir(pendingDir)) {
		return nil, fmt.Errorf("no request waits for one; run: chancery issuer request %s --csr-out FILE", f.Name)
	}
	reference, public, err := lookAtKey(f.dir(pendingDir, generationKey))
	if err != nil {
		return nil, err
	}
	if keys.IsURI(reference) {
		signer, err := o.Open(reference)
		if err != nil {
			return nil, err
		}
		public = signer.Public()
	}
	certs, err := readCertificates(o.CertificateFile)
	if err != nil {
		return nil, err
	}
	root, err := readRoot(cmp.Or(o.RootFile, f.root()))
	if err != nil {
		return nil, err
	}
	checked, err := chainFiles(certs, root, public, o.Check, o.Now)
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(f.dir(pendingDir, generationKey))
	if err != nil {
		return nil, err
	}
	files := []file{{generationKey, key, keyPerm}, {generationFile, checked[1].data, certificatePerm}}
	if o.RootFile != "" {
		files = append(files, file{generationRoot, checked[0].data, certificatePerm})
	}
	generation, err := f.install(files)
	if err != nil {
		return nil, err
	}
	return generation, os.RemoveAll(f.dir(pendingDir))
}
