package hierarchy

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"time"

	"chancery/internal/keys"
)

// RootListFile is the root's revocation list, DER: what the root has revoked of
// the certificates that it signed itself. Unlike the other files it is replaced,
// by a rename, whenever the root's key is at hand.
const RootListFile = "root.crl"

// rootListLifetime is how long it is good unless somebody says otherwise: a
// root's key may be far away.
const rootListLifetime = year

// RootListOptions say what revocation list to sign with the root's key.
type RootListOptions struct {
	Dir        string
	RootKey    string // the file of the root's key; "" for RootKeyFile
	Passphrase []byte // opens it
	Revoke     []x509.RevocationListEntry
	Lifetime   time.Duration // default 1 year of 365 days; cut to the root's
	Now        func() time.Time
}

// SignRootList signs a new revocation list of the root: what the one before it
// lists, and what is to be revoked. Its number is higher. Callers hold a lock.
// The error wraps fs.ErrNotExist when the root's key is not at hand, and
// keys.ErrPassphrase when it does not open.
func SignRootList(options RootListOptions) (*x509.RevocationList, error) {
	list, err := options.sign()
	if err != nil {
		return nil, fmt.Errorf("couldn't sign the root's revocation list: %w", err)
	}
	return list, nil
}

func (o RootListOptions) sign() (*x509.RevocationList, error) {
	root, err := readRoot(filepath.Join(o.Dir, RootFile))
	if err != nil {
		return nil, err
	}
	key := cmp.Or(o.RootKey, RootKeyFile)
	if !filepath.IsAbs(key) {
		key = filepath.Join(o.Dir, key)
	}
	signer, err := keys.ReadSealedFile(key, o.Passphrase)
	if err != nil {
		return nil, err
	}
	if !isKeyOf(root, signer.Public()) {
		return nil, fmt.Errorf("the key %s is not that of %v", key, root)
	}
	return o.replace(root.Certificate, signer)
}

// replace writes the list that follows the one in the directory.
func (o RootListOptions) replace(root *x509.Certificate, signer crypto.Signer) (*x509.RevocationList, error) {
	before, err := LoadRootList(o.Dir, root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	der, err := o.der(root, signer, before)
	if err != nil {
		return nil, err
	}
	if err := keys.Replace(filepath.Join(o.Dir, RootListFile), der, certificatePerm); err != nil {
		return nil, err
	}
	return x509.ParseRevocationList(der)
}

// der makes the list that follows another, nil for none. Numbers follow the
// clock, so that they grow even where the list before is not at hand.
func (o RootListOptions) der(root *x509.Certificate, signer crypto.Signer, before *x509.RevocationList) ([]byte, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	now := o.Now().UTC().Truncate(time.Second)
	template := &x509.RevocationList{
		Number:     big.NewInt(now.Unix()),
		ThisUpdate: now.Add(-backdate),
		NextUpdate: now.Add(cmp.Or(o.Lifetime, rootListLifetime)),
	}
	if template.NextUpdate.After(root.NotAfter) {
		template.NextUpdate = root.NotAfter
	}
	if before != nil {
		template.RevokedCertificateEntries = before.RevokedCertificateEntries
		if template.Number.Cmp(before.Number) <= 0 {
			template.Number.Add(before.Number, big.NewInt(1))
		}
	}
	for _, entry := range o.Revoke {
		known := func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(entry.SerialNumber) == 0 }
		if slices.ContainsFunc(template.RevokedCertificateEntries, known) {
			return nil, fmt.Errorf("%x is revoked already", entry.SerialNumber)
		}
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, entry)
	}
	return x509.CreateRevocationList(rand.Reader, template, root, signer)
}

// LoadRootList reads the root's revocation list and checks that the root has
// signed it. It does not look at the clock. The error wraps fs.ErrNotExist when
// there is none.
func LoadRootList(dir string, root *x509.Certificate) (*x509.RevocationList, error) {
	path := filepath.Join(dir, RootListFile)
	der, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the root's revocation list: %w", err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("%s is no revocation list in DER form: %w", path, err)
	}
	if !bytes.Equal(list.RawIssuer, root.RawSubject) {
		return nil, fmt.Errorf("%s is the list of %q, not of the root %q", path, list.Issuer, root.Subject)
	}
	if err := list.CheckSignatureFrom(root); err != nil {
		return nil, fmt.Errorf("the root %q did not sign %s: %w", root.Subject, path, err)
	}
	return list, nil
}

// SignedBy reads a certificate file and returns the serial number of the first
// certificate in it that the root has signed, for RootListOptions.Revoke.
func SignedBy(dir, file string) (*big.Int, error) {
	root, err := readRoot(filepath.Join(dir, RootFile))
	if err != nil {
		return nil, err
	}
	certs, err := readCertificates(file)
	if err != nil {
		return nil, err
	}
	signed := slices.IndexFunc(certs, func(c located) bool { return !isRoot(c) && isSignedBy(c, root) })
	if signed < 0 {
		return nil, fmt.Errorf("no certificate in %s is signed by the root %v; leaves are revoked with: chancery certs revoke", file, root)
	}
	return certs[signed].SerialNumber, nil
}

// firstRootList is the list of a new root.
func (o Options) firstRootList(root *x509.Certificate, signer crypto.Signer) (file, error) {
	der, err := RootListOptions{Now: o.Now}.der(root, signer, nil)
	return file{RootListFile, der, certificatePerm}, err
}
