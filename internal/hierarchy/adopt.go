package hierarchy

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"chancery/internal/keys"
)

// AdoptOptions name the files of an existing PKI. They are copied, never
// changed.
type AdoptOptions struct {
	Dir              string
	RootFile         string        // holds the self-signed certificate
	IntermediateFile string        // the issuing certificate, and those between it and the root, in any order
	KeyFile          string        // the issuing certificate's key, in any form that keys.Parse knows; or the URI of Signer
	Signer           crypto.Signer // of a key that a helper holds; nil for KeyFile's
	KeyPassphrase    []byte        // opens KeyFile; empty when it is not sealed
	Check            Check
	Now              func() time.Time
}

// Check refuses an issuing certificate that is not good for what it is meant
// for, before anything is written; nil takes all.
type Check func(issuing *x509.Certificate) error

// Adopt takes over an existing intermediate. It checks that the certificates
// form a chain of CAs to the root, valid now, with sound keys and signatures,
// and that the key is the issuing certificate's. Errors name the file and the
// remedy; they wrap ErrExists if any file of a CA is in the directory, and
// keys.ErrSealed or keys.ErrPassphrase when the key does not open.
func Adopt(options AdoptOptions) (*Hierarchy, error) {
	if err := establish(options.Dir, options.files); err != nil {
		return nil, fmt.Errorf("couldn't take over the CA: %w", err)
	}
	return Load(options.Dir)
}

func (o AdoptOptions) files() ([]file, error) {
	root, err := readRoot(o.RootFile)
	if err != nil {
		return nil, err
	}
	intermediates, err := readCertificates(o.IntermediateFile)
	if err != nil {
		return nil, err
	}
	signer, uri := o.Signer, o.KeyFile
	if signer == nil {
		uri = ""
		if signer, err = keys.ReadSealedFile(o.KeyFile, o.KeyPassphrase); err != nil {
			return nil, err
		}
	}
	files, err := chainFiles(intermediates, root, signer.Public(), o.Check, o.Now)
	if err != nil {
		return nil, err
	}
	key, err := keyFile(signer, uri)
	key.name = KeyFile
	return append(files, key), err
}

// chainFiles checks the certificates that belong to a key and returns them as
// files.
func chainFiles(certs []located, root located, public crypto.PublicKey, check Check, now func() time.Time) ([]file, error) {
	chain, err := arrange(certs, root, public)
	if err != nil {
		return nil, err
	}
	if err := checkChain(chain, root); err != nil {
		return nil, err
	}
	if now == nil {
		now = time.Now
	}
	for _, c := range append(slices.Clone(chain), root) {
		if err := checkTime(c.Certificate, now()); err != nil {
			return nil, fmt.Errorf("%s: %w", c.file, err)
		}
	}
	if check != nil {
		if err := check(chain[0].Certificate); err != nil {
			return nil, fmt.Errorf("%s: %w", chain[0].file, err)
		}
	}
	return []file{
		{RootFile, encode(root.Certificate), certificatePerm},
		{IntermediateFile, encode(certificates(chain)...), certificatePerm},
	}, nil
}
