package hierarchy

import (
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"chancery/internal/keys"
)

const (
	year     = 365 * 24 * time.Hour
	backdate = time.Minute // for clocks that are late

	certificatePerm = 0o644
	keyPerm         = 0o600
)

// Options say what CA to make. Zero values stand for the defaults.
type Options struct {
	Dir                  string
	Name                 string        // in the subjects; default "Chancery"; at most 39 characters
	KeyType              string        // as keys.TypeOf names it; default P-256
	RootLifetime         time.Duration // default 20 years of 365 days
	IntermediateLifetime time.Duration // default 10 years; cut to the root's
	PathLength           int           // how many CAs may be below the intermediate
	Permit               []string      // what the CA may issue for; empty for anything; see Create
	Passphrase           []byte        // seals the root's key
	RootListURL          RootListURL   // for the intermediate; nil for none
	Now                  func() time.Time
	Rand                 io.Reader
}

// RootListURL says where the revocation list of a root will be found, by its
// subject key identifier.
type RootListURL func(subjectKeyID []byte) string

// Create makes a new root and intermediate and writes them to the directory,
// which it makes when there is none. The error wraps ErrExists if any file of
// a CA is there already.
//
// Permit becomes critical name constraints (RFC 5280 §4.2.1.10) of the root
// and, because some relying parties ignore those of a trust anchor, of the
// intermediate too. An entry is a domain, which stands for itself and all
// names below it, or an address range such as 10.0.0.0/8. Constraints of one
// form of name leave the others free, so what is not mentioned is excluded:
// all DNS names when no domain is given, all IPv4 and all IPv6 addresses when
// no range of that family is. Other forms of name are not constrained.
func Create(options Options) (*Hierarchy, error) {
	o := options.withDefaults()
	if err := establish(o.Dir, o.build); err != nil {
		return nil, fmt.Errorf("couldn't create the CA: %w", err)
	}
	return Load(o.Dir)
}

func (o Options) withDefaults() Options {
	o.Name = cmp.Or(o.Name, "Chancery")
	o.KeyType = cmp.Or(o.KeyType, "P-256")
	o.RootLifetime = cmp.Or(o.RootLifetime, 20*year)
	o.IntermediateLifetime = cmp.Or(o.IntermediateLifetime, 10*year)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	return o
}

func (o Options) check() error {
	switch {
	case o.RootLifetime < 0 || o.IntermediateLifetime < 0:
		return errors.New("a lifetime is negative")
	case o.PathLength < 0 || o.PathLength > maxPathLength:
		return fmt.Errorf("the path length is %d; write 0 to %d", o.PathLength, maxPathLength)
	case !utf8.ValidString(o.Name) || strings.ContainsFunc(o.Name, unicode.IsControl):
		return fmt.Errorf("the name %q has characters that cannot be printed", o.Name)
	case strings.TrimSpace(o.Name) != o.Name:
		return fmt.Errorf("the name %q begins or ends with a space", o.Name)
	case utf8.RuneCountInString(o.Name) > maxName:
		return fmt.Errorf("the name has %d characters; at most %d are allowed", utf8.RuneCountInString(o.Name), maxName)
	default:
		return nil
	}
}

// build makes keys and certificates and returns them as files.
func (o Options) build() ([]file, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if len(o.Passphrase) == 0 {
		return nil, errors.New("the passphrase for the root's key is empty")
	}
	root, rootKey, err := o.makeRoot()
	if err != nil {
		return nil, err
	}
	intermediate, key, err := o.makeIntermediate(root, rootKey)
	if err != nil {
		return nil, err
	}
	rootList, err := o.firstRootList(root, rootKey)
	if err != nil {
		return nil, err
	}
	sealed, err := keys.Seal(o.Rand, rootKey, o.Passphrase)
	if err != nil {
		return nil, err
	}
	plain, err := keys.Marshal(key)
	if err != nil {
		return nil, err
	}
	return []file{
		{RootKeyFile, sealed, keyPerm},
		{KeyFile, plain, keyPerm},
		{RootFile, encode(root), certificatePerm},
		{IntermediateFile, encode(intermediate), certificatePerm},
		rootList,
	}, nil
}

func (o Options) makeRoot() (*x509.Certificate, crypto.Signer, error) {
	template, key, err := o.template("Root CA", o.RootLifetime, nil)
	if err != nil {
		return nil, nil, err
	}
	cert, err := o.sign(template, template, key.Public(), key)
	return cert, key, err
}

func (o Options) makeIntermediate(root *x509.Certificate, rootKey crypto.Signer) (*x509.Certificate, crypto.Signer, error) {
	template, key, err := o.intermediateTemplate(nil)
	if err != nil {
		return nil, nil, err
	}
	template.MaxPathLen, template.MaxPathLenZero = o.PathLength, o.PathLength == 0
	cert, err := o.signIntermediate(template, root, key.Public(), rootKey)
	return cert, key, err
}

// intermediateTemplate is for a key, or a new one.
func (o Options) intermediateTemplate(key crypto.Signer) (*x509.Certificate, crypto.Signer, error) {
	template, key, err := o.template("Intermediate CA", o.IntermediateLifetime, key)
	if err != nil {
		return nil, nil, err
	}
	template.KeyUsage |= x509.KeyUsageDigitalSignature // for OCSP answers (RFC 6960 §4.2.2.2)
	return template, key, nil
}

// signIntermediate signs a certificate that ends with its root at the latest.
func (o Options) signIntermediate(template, root *x509.Certificate, public crypto.PublicKey, rootKey crypto.Signer) (*x509.Certificate, error) {
	if template.NotAfter.After(root.NotAfter) {
		template.NotAfter = root.NotAfter
	}
	if o.RootListURL != nil {
		template.CRLDistributionPoints = []string{o.RootListURL(root.SubjectKeyId)}
	}
	return o.sign(template, root, public, rootKey)
}

// template makes a key, unless there is one, and what all certificates have in
// common.
func (o Options) template(role string, lifetime time.Duration, key crypto.Signer) (*x509.Certificate, crypto.Signer, error) {
	subject, ski, key, err := o.subjectFor(role, key)
	if err != nil {
		return nil, nil, err
	}
	serial, err := newSerial(o.Rand)
	if err != nil {
		return nil, nil, err
	}
	now := o.Now().UTC().Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               subject,
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(lifetime),
		BasicConstraintsValid: true,
		IsCA:                  true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		SubjectKeyId:          ski,
	}
	return template, key, constrain(template, o.Permit)
}

// maxPathLength is more than anybody needs.
const maxPathLength = 100

// maxName leaves room in a common name of 64 characters (RFC 5280 appendix
// A.1, ub-common-name) for " Intermediate CA " and eight more.
const maxName = 39

// subjectFor makes a key, unless there is one, and the subject for it. The
// common name ends in the first digits of the key's identifier, so that no two
// CAs have the same.
func (o Options) subjectFor(role string, key crypto.Signer) (subject pkix.Name, ski []byte, _ crypto.Signer, err error) {
	if key == nil {
		if key, err = keys.Generate(o.Rand, o.KeyType); err != nil {
			return subject, nil, nil, err
		}
	}
	if ski, err = keys.SKI(key.Public()); err != nil {
		return subject, nil, nil, err
	}
	subject.Organization = []string{o.Name}
	subject.CommonName = fmt.Sprintf("%s %s %X", o.Name, role, ski[:4])
	return subject, ski, key, nil
}

func (o Options) sign(template, parent *x509.Certificate, pub crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(o.Rand, template, parent, pub, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// newSerial makes a positive serial number of 20 octets.
func newSerial(rand io.Reader) (*big.Int, error) {
	serial := make([]byte, 20)
	if _, err := io.ReadFull(rand, serial); err != nil {
		return nil, err
	}
	serial[0] = max(serial[0]&0x7f, 1)
	return new(big.Int).SetBytes(serial), nil
}

func encode(certs ...*x509.Certificate) (text []byte) {
	for _, cert := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return text
}
