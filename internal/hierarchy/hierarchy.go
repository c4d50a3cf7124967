// Package hierarchy creates, takes over and loads a CA's own root and
// intermediate certificates and keys in one directory:
//
//	root.pem          the root certificate
//	root.key          its key, sealed with a passphrase; only when made here;
//	                  needed only to sign another intermediate, so it can be
//	                  moved to a safe place
//	root.crl          what the root has revoked of what it signed; only when the
//	                  root was made here
//	intermediate.pem  the issuing certificate, then those between it and the root
//	intermediate.key  its key, not sealed, so that the server starts by itself,
//	                  or the URI of a key that a helper program holds
//	intermediate.csr  the request, while an outside root has not answered it
//	issuers/          later intermediates, and those of other issuers
//
// It promises that no file of a CA but root.crl is ever replaced, that a
// directory holds a whole CA or none whatever crash interrupts its making, and
// that what Load returns is a chain that relying parties accept, with the key
// that belongs to it. It knows no configuration and no store, and it signs no
// leaf. Only one process at a time may make a CA in a directory; callers hold a
// lock.
package hierarchy

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
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

// The files of a CA in its directory.
const (
	RootFile         = "root.pem"
	RootKeyFile      = "root.key"
	IntermediateFile = "intermediate.pem"
	KeyFile          = "intermediate.key"
	RequestFile      = "intermediate.csr"
)

// ErrExists is wrapped by the error of whatever would make a CA where one, or
// a part of one, is already.
var ErrExists = errors.New("there is a CA already")

// ErrWaiting is wrapped by Load's error when the directory holds a request
// that no outside root has answered yet.
var ErrWaiting = errors.New("the intermediate certificate is still to come from the root")

// Hierarchy is a CA that can issue.
type Hierarchy struct {
	Root          *x509.Certificate
	Intermediates []*x509.Certificate // the issuing one first, then towards the root
	Signer        crypto.Signer       // of the issuing intermediate; nil when a helper has the key
	KeyURI        string              // of the key that a helper has
}

// Issuer is the certificate that signs leaves.
func (h *Hierarchy) Issuer() *x509.Certificate { return h.Intermediates[0] }

// Chain is all certificates, from the issuing one to the root.
func (h *Hierarchy) Chain() []*x509.Certificate {
	return append(append([]*x509.Certificate(nil), h.Intermediates...), h.Root)
}

// CheckTime returns an error that names a certificate that is not valid at a
// time.
func (h *Hierarchy) CheckTime(now time.Time) error {
	for _, cert := range h.Chain() {
		if err := checkTime(cert, now); err != nil {
			return err
		}
	}
	return nil
}

// Load reads the CA in a directory and checks that certificates and key belong
// together. It does not look at the clock; see CheckTime. It first finishes
// what a crash interrupted in the making of the CA. The error wraps
// fs.ErrNotExist when the directory holds nothing of a CA, and ErrWaiting when
// it holds a request without an answer.
func Load(dir string) (*Hierarchy, error) {
	if err := finish(dir); err != nil {
		return nil, fmt.Errorf("couldn't load the CA: %w", err)
	}
	if err := checkWhole(dir); err != nil {
		return nil, fmt.Errorf("couldn't load the CA: %w", err)
	}
	h, err := load(dir)
	if err != nil {
		return nil, fmt.Errorf("couldn't load the CA: %w", err)
	}
	return h, nil
}

func load(dir string) (*Hierarchy, error) {
	g, err := loadGeneration(1, filepath.Join(dir, IntermediateFile), filepath.Join(dir, KeyFile), filepath.Join(dir, RootFile))
	if err != nil {
		return nil, err
	}
	last := len(g.Chain) - 1
	h := &Hierarchy{Root: g.Chain[last], Intermediates: g.Chain[:last]}
	if keys.IsURI(g.Key) {
		h.KeyURI = g.Key
		return h, nil
	}
	h.Signer, err = keys.ReadFile(g.Key)
	return h, err
}

// checkWhole looks which files there are.
func checkWhole(dir string) error {
	var found, missing []string
	for _, name := range []string{RootFile, IntermediateFile, KeyFile} {
		if exists(filepath.Join(dir, name)) {
			found = append(found, name)
		} else {
			missing = append(missing, name)
		}
	}
	switch {
	case len(missing) == 0:
		return nil
	case len(found) == 0 && !exists(filepath.Join(dir, RootKeyFile)):
		return fmt.Errorf("there is none in %s (%w); run: chancery init --dir %[1]s", dir, fs.ErrNotExist)
	case len(found) == 1 && found[0] == KeyFile && exists(filepath.Join(dir, RequestFile)):
		return fmt.Errorf("%w: have %s signed, then run: chancery init --dir %s --intermediate FILE", ErrWaiting, filepath.Join(dir, RequestFile), dir)
	default:
		return fmt.Errorf("%s is missing while other files of the CA are there; restore it from a backup", filepath.Join(dir, missing[0]))
	}
}

// exists reports whether there is anything by that name, or may be.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// Fingerprint is the SHA-256 hash of a certificate, in the form that
// openssl x509 -fingerprint -sha256 prints.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// GeneratePassphrase makes a passphrase of 140 random bits in seven groups of
// four letters and digits, without those that are easily confused.
func GeneratePassphrase(rand io.Reader) (string, error) {
	const alphabet = "0123456789abcdefghjkmnpqrstvwxyz" // 32
	random := make([]byte, 28)
	if _, err := io.ReadFull(rand, random); err != nil {
		return "", fmt.Errorf("couldn't generate a passphrase: %w", err)
	}
	var text strings.Builder
	for i, octet := range random {
		if i > 0 && i%4 == 0 {
			text.WriteByte('-')
		}
		text.WriteByte(alphabet[octet%32])
	}
	return text.String(), nil
}
