// Package issuer holds what signs: it turns a stored intent into a
// certificate, and signs revocation lists and OCSP answers. An issuer never
// decides what is in these, and nothing else in the program may use a CA key to
// sign one. What is given to it as a list or an answer is signed as nothing
// else: each has a verb of its own, which looks at the form.
package issuer

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"

	"chancery/internal/keys"
	"chancery/internal/store"
	"chancery/internal/x509der"
)

// Local signs with a key this process holds or reaches through a
// crypto.Signer.
type Local struct {
	signer crypto.Signer
	chain  []*x509.Certificate
	record store.Issuer
	alg    []byte // DER AlgorithmIdentifier
	hash   crypto.Hash
}

// NewLocal returns the issuer for a key and its chain: the issuing certificate
// first, the root last. The key must be the first certificate's. Alternates are
// other chains of the same key, without their roots.
//
// When the signer has a method Check() error, that says why it can't sign now;
// one with SignContext is called by that.
func NewLocal(signer crypto.Signer, chain []*x509.Certificate, alternates ...[]*x509.Certificate) (*Local, error) {
	if len(chain) == 0 {
		return nil, errors.New("couldn't set up issuer: it has no certificate")
	}
	if !keys.Equal(signer.Public(), chain[0].PublicKey) {
		return nil, fmt.Errorf("couldn't set up issuer %q: its key does not fit its certificate", chain[0].Subject)
	}
	alg, hash, err := x509der.SignatureAlgorithm(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("couldn't set up issuer %q: %w", chain[0].Subject, err)
	}
	return &Local{signer: signer, chain: chain, record: Record(chain, alternates), alg: alg, hash: hash}, nil
}

// Record is an issuer as the store keeps it, by its certificates.
func Record(chain []*x509.Certificate, alternates [][]*x509.Certificate) store.Issuer {
	record := store.Issuer{
		ID: store.IssuerID(chain[0].SubjectKeyId), SubjectKeyID: chain[0].SubjectKeyId, Chain: encode(chain),
	}
	for _, alternate := range alternates {
		record.Alternates = append(record.Alternates, encode(alternate))
	}
	return record
}

func encode(chain []*x509.Certificate) [][]byte {
	encoded := make([][]byte, len(chain))
	for i, certificate := range chain {
		encoded[i] = certificate.Raw
	}
	return encoded
}

// ID is the issuer's name in the store.
func (l *Local) ID() string { return l.record.ID }

// Record is the issuer as the store keeps it.
func (l *Local) Record() store.Issuer { return l.record }

// Certificate is the certificate whose key signs.
func (l *Local) Certificate() *x509.Certificate { return l.chain[0] }

// Chain is the issuing certificate and those above it, the root last.
func (l *Local) Chain() []*x509.Certificate { return l.chain }

// Algorithm is the DER AlgorithmIdentifier of what the issuer signs.
func (l *Local) Algorithm() []byte { return l.alg }

// Ready reports, at once, why the key could not sign now.
func (l *Local) Ready() error {
	if checked, ok := l.signer.(interface{ Check() error }); ok {
		if err := checked.Check(); err != nil {
			return fmt.Errorf("the key of the issuer %q can't be used now: %w", l.chain[0].Subject, err)
		}
	}
	return nil
}

// Issue signs exactly the intent's TBSCertificate and returns the
// certificate's DER.
func (l *Local) Issue(ctx context.Context, intent store.Intent) ([]byte, error) {
	if intent.IssuerID != l.record.ID {
		return nil, fmt.Errorf("couldn't sign %s: it is for issuer %s, this is %s", intent.Serial, intent.IssuerID, l.record.ID)
	}
	signature, err := l.sign(ctx, l.digest(intent.TBS))
	if err != nil {
		return nil, fmt.Errorf("couldn't sign %s: %w", intent.Serial, err)
	}
	return x509der.Assemble(intent.TBS, l.alg, signature), nil
}

func (l *Local) sign(ctx context.Context, digest []byte) ([]byte, error) {
	if bounded, ok := l.signer.(interface {
		SignContext(context.Context, []byte, crypto.SignerOpts) ([]byte, error)
	}); ok {
		return bounded.SignContext(ctx, digest, l.hash)
	}
	return l.signer.Sign(rand.Reader, digest, l.hash)
}

// digest is what the signer gets: the hash of message, or, for Ed25519,
// message itself.
func (l *Local) digest(message []byte) []byte {
	if l.hash == 0 {
		return message
	}
	h := l.hash.New()
	h.Write(message)
	return h.Sum(nil)
}
