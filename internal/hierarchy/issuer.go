package hierarchy

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"chancery/internal/keys"
)

// An issuer has generations, one for each key it has had. The first may be in
// files that the configuration names; the others are directories
// issuers/NAME/NUMBER with the files below. Such a directory appears whole, by
// a rename, and is never changed after that.
const (
	issuersDir      = "issuers"
	generationFile  = "certificate.pem" // the issuing certificate, then those between it and the root
	generationKey   = "key.pem"         // its key, or the URI of it
	generationRoot  = "root.pem"        // only when it is not the issuer's
	pendingDir      = "request"         // holds generationKey and pendingFile until the answer comes
	pendingFile     = "request.csr"
	newestDirPrefix = ".new-" // is being made; a crash may leave one
)

// DefaultIssuer is the name of the issuer in the directory of the CA itself.
const DefaultIssuer = "default"

// IssuerFiles say where an issuer is. Paths are relative to Dir.
type IssuerFiles struct {
	Dir         string
	Name        string
	Certificate string   // of the first generation; "" for none
	Key         string   // its key file, or the URI of a key that a helper holds
	Root        string   // "" for RootFile
	Alternates  []string // files with other chains of any generation's key
}

// Generation is a key that an issuer has, or had, with its certificates.
type Generation struct {
	Number     int
	Chain      []*x509.Certificate   // from the issuing certificate to the root
	Alternates [][]*x509.Certificate // other chains of the same key, without their roots
	Key        string                // the path of its key, or a URI
}

// Issuer is the certificate that signs leaves.
func (g *Generation) Issuer() *x509.Certificate { return g.Chain[0] }

// Signer returns the key of a generation; open opens one that a helper holds.
// The error of a file wraps fs.ErrNotExist when somebody has taken it away.
func (g *Generation) Signer(open func(uri string, public crypto.PublicKey) (crypto.Signer, error)) (crypto.Signer, error) {
	if keys.IsURI(g.Key) {
		return open(g.Key, g.Issuer().PublicKey)
	}
	return keys.ReadFile(g.Key)
}

// LoadIssuer reads all generations of an issuer, the one that signs last, and
// checks that each is a chain of CAs to its root. It does not look at the
// clock, and not at keys. The error wraps fs.ErrNotExist when there is none.
func LoadIssuer(files IssuerFiles) ([]*Generation, error) {
	generations, err := files.load()
	if err != nil {
		return nil, fmt.Errorf("couldn't load the issuer %s: %w", files.Name, err)
	}
	return generations, nil
}

func (f IssuerFiles) load() ([]*Generation, error) {
	if f.Certificate == IntermediateFile && f.Key == KeyFile {
		if err := finish(f.Dir); err != nil {
			return nil, err
		}
		if err := checkWhole(f.Dir); err != nil {
			return nil, err
		}
	}
	var generations []*Generation
	if f.Certificate != "" {
		first, err := f.loadFirst()
		if err != nil {
			return nil, err
		}
		generations = append(generations, first)
	}
	numbers, err := f.numbers()
	if err != nil {
		return nil, err
	}
	for _, number := range numbers {
		generation, err := f.loadNumber(number)
		if err != nil {
			return nil, err
		}
		generations = append(generations, generation)
	}
	if len(generations) == 0 {
		return nil, fmt.Errorf("it has no certificate yet (%w); run: chancery issuer rotate %s", fs.ErrNotExist, f.Name)
	}
	return generations, f.addAlternates(generations)
}

// path is a path in the directory of the CA.
func (f IssuerFiles) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(f.Dir, name)
}

func (f IssuerFiles) dir(parts ...string) string {
	return filepath.Join(append([]string{f.Dir, issuersDir, f.Name}, parts...)...)
}

func (f IssuerFiles) root() string { return f.path(cmp.Or(f.Root, RootFile)) }

func (f IssuerFiles) loadFirst() (*Generation, error) {
	key := f.Key
	if !keys.IsURI(key) {
		key = f.path(key)
	}
	return loadGeneration(1, f.path(f.Certificate), key, f.root())
}

// numbers lists the generations that are directories.
func (f IssuerFiles) numbers() (numbers []int, err error) {
	entries, err := os.ReadDir(f.dir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, entry := range entries {
		if number, err := strconv.Atoi(entry.Name()); err == nil && number > 0 && entry.IsDir() {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func (f IssuerFiles) loadNumber(number int) (*Generation, error) {
	dir := f.dir(generationName(number))
	root := filepath.Join(dir, generationRoot)
	if !exists(root) {
		root = f.root()
	}
	return loadGeneration(number, filepath.Join(dir, generationFile), filepath.Join(dir, generationKey), root)
}

func generationName(number int) string { return fmt.Sprintf("%04d", number) }

// loadGeneration reads a chain. The issuing certificate is the first in its
// file, unless the key is at hand to tell.
func loadGeneration(number int, certificateFile, key, rootFile string) (*Generation, error) {
	roots, err := readCertificates(rootFile)
	if err != nil {
		return nil, err
	}
	if len(roots) != 1 {
		return nil, fmt.Errorf("%s holds %d certificates; it must hold just the root", rootFile, len(roots))
	}
	root := roots[0]
	certs, err := readCertificates(certificateFile)
	if err != nil {
		return nil, err
	}
	key, public, err := lookAtKey(key)
	if err != nil {
		return nil, err
	}
	if public == nil {
		public = certs[0].PublicKey
	}
	chain, err := arrange(certs, root, public)
	if err != nil {
		return nil, err
	}
	if err := checkChain(chain, root); err != nil {
		return nil, err
	}
	return &Generation{Number: number, Chain: certificates(append(chain, root)), Key: key}, nil
}

// lookAtKey finds out whether a key file holds a key or a URI, which then
// stands for it. A key that was taken away is no error: what it has signed
// goes on.
func lookAtKey(key string) (reference string, public crypto.PublicKey, err error) {
	if keys.IsURI(key) {
		return key, nil, nil
	}
	uri, err := keys.ReadURI(key)
	if errors.Is(err, fs.ErrNotExist) {
		return key, nil, nil
	}
	if err != nil || uri != "" {
		return uri, nil, err
	}
	signer, err := keys.ReadFile(key)
	if err != nil {
		return "", nil, err
	}
	return key, signer.Public(), nil
}

// addAlternates reads the other chains and gives each to the generation whose
// key it is for.
func (f IssuerFiles) addAlternates(generations []*Generation) error {
	for _, name := range f.Alternates {
		certs, err := readCertificates(f.path(name))
		if err != nil {
			return err
		}
		i := slices.IndexFunc(generations, func(g *Generation) bool { return isKeyOf(certs[0], g.Issuer().PublicKey) })
		if i < 0 {
			return fmt.Errorf("%v is for none of the issuer's keys; an alternate begins with a certificate for the same key", certs[0])
		}
		if err := checkAlternate(certs, generations[i].Issuer()); err != nil {
			return err
		}
		if last := len(certs) - 1; last > 0 && isRoot(certs[last]) {
			certs = certs[:last] // relying parties have it
		}
		generations[i].Alternates = append(generations[i].Alternates, certificates(certs))
	}
	return nil
}

// checkAlternate makes sure that what the issuer signs verifies under the
// chain too: leaves carry its subject and key identifier.
func checkAlternate(certs []located, issuer *x509.Certificate) error {
	first := certs[0]
	switch {
	case !bytes.Equal(first.RawSubject, issuer.RawSubject):
		return fmt.Errorf("%v has another subject than the issuer, %q; have it signed anew with that", first, issuer.Subject)
	case len(first.SubjectKeyId) > 0 && !bytes.Equal(first.SubjectKeyId, issuer.SubjectKeyId):
		return fmt.Errorf("%v has another subject key identifier than the issuer, %X; have it signed anew with that", first, issuer.SubjectKeyId)
	}
	for i, c := range certs {
		if err := checkCA(c, i); err != nil {
			return err
		}
		if i > 0 {
			if err := checkLink(certs[i-1], c); err != nil {
				return err
			}
		}
	}
	return nil
}
