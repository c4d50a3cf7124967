package revocation

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // RFC 6960 names responders by it
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"chancery/internal/ca"
	"chancery/internal/duration"
	"chancery/internal/expr"
	"chancery/internal/keys"
	"chancery/internal/policy"
	"chancery/internal/profile"
	"chancery/internal/store"
	"chancery/internal/x509der"
)

// ResponderProfile is the name of the profile of responders' certificates.
const ResponderProfile = "ocsp-responder"

// noCheck is the extension that spares relying parties the question whether a
// responder is revoked (RFC 6960 §4.2.2.2.1). Its certificate is short-lived
// instead.
const noCheck = "1.3.6.1.5.5.7.48.1.5"

// Responder certificates last a week and are replaced when two thirds of that
// are over; what fails then is tried again every so often.
const (
	responderLifetime = 7 * 24 * time.Hour
	delegateRetry     = 10 * time.Second
)

// Profiles are those of the certificates that the package has issued to itself.
func Profiles() (map[string]*profile.Profile, error) {
	compiled, err := profile.Compile(ResponderProfile, profile.Spec{
		Description:       "OCSP responders of this CA",
		Validity:          profile.Validity{Default: duration.Duration(responderLifetime)},
		KeyUsages:         []string{"digitalSignature"},
		ExtendedKeyUsages: []string{"OCSPSigning"},
		SAN:               profile.SAN{OmitIdentifiers: true}, // it has none
		Subject:           profile.Subject{CommonName: []profile.Text{{Literal: "OCSP Responder"}}},
		Extensions: []profile.Extension{{
			OID: noCheck, Value: profile.Typed{DER: &expr.Value[string]{Literal: "0500"}}, // NULL
		}},
	})
	return map[string]*profile.Profile{ResponderProfile: compiled}, err
}

// Authority is the road, which responders' certificates walk too.
type Authority interface {
	Issue(ctx context.Context, req ca.Request) (store.Certificate, error)
}

// signer is what signs answers for an issuer.
type signer struct {
	sign        func(ctx context.Context, responseData []byte) ([]byte, error)
	certificate []byte // DER; nil when the issuer itself signs
	algorithm   []byte // DER AlgorithmIdentifier
	keyHash     []byte
	renewAt     time.Time // zero for never
	notAfter    time.Time
}

// responding is an issuer and what signs answers for it.
type responding struct {
	issuer  Issuer
	current atomic.Pointer[signer]
	mu      sync.Mutex
	failed  error     // why there is no new one; guarded by mu
	retryAt time.Time // guarded by mu
}

// signer returns what signs answers now. It is made when it is first needed.
// While another takes its place, those who ask get the one there is.
func (r *Responder) signer(ctx context.Context, to *responding) (*signer, error) {
	now := r.deps.Now()
	current := to.current.Load()
	switch {
	case current.fresh(now):
		return current, nil
	case !current.usable(now):
		to.mu.Lock()
	case !to.mu.TryLock():
		return current, nil
	}
	defer to.mu.Unlock()
	current = to.current.Load()
	if !current.fresh(now) && !now.Before(to.retryAt) {
		next, err := r.newSigner(context.WithoutCancel(ctx), to.issuer)
		if err == nil {
			to.current.Store(next)
			return next, nil
		}
		to.failed, to.retryAt = err, now.Add(delegateRetry)
		r.deps.Log.WarnContext(ctx, "couldn't get a certificate for the OCSP responder; will try again", "issuer", to.issuer.ID(), "error", err)
	}
	if current.usable(now) {
		return current, nil
	}
	return nil, to.failed
}

func (s *signer) usable(now time.Time) bool { return s != nil && now.Before(s.notAfter) }

func (s *signer) fresh(now time.Time) bool {
	return s.usable(now) && (s.renewAt.IsZero() || now.Before(s.renewAt))
}

func (r *Responder) newSigner(ctx context.Context, issuer Issuer) (*signer, error) {
	if canDelegate(issuer.Certificate()) {
		return r.delegate(ctx, issuer)
	}
	return direct(issuer)
}

// canDelegate reports whether relying parties would take a responder's
// certificate from an issuer: one with extended key usages hands down no other.
func canDelegate(issuer *x509.Certificate) bool {
	usages := issuer.ExtKeyUsage
	return len(usages)+len(issuer.UnknownExtKeyUsage) == 0 ||
		slices.Contains(usages, x509.ExtKeyUsageAny) || slices.Contains(usages, x509.ExtKeyUsageOCSPSigning)
}

// direct has the issuer's key sign.
func direct(issuer Issuer) (*signer, error) {
	certificate := issuer.Certificate()
	hash, err := keyHash(certificate)
	return &signer{sign: issuer.SignOCSP, algorithm: issuer.Algorithm(), keyHash: hash, notAfter: certificate.NotAfter}, err
}

// delegate makes a key, which stays in memory, and has the issuer certify it as
// a responder.
func (r *Responder) delegate(ctx context.Context, issuer Issuer) (*signer, error) {
	key, err := keys.Generate(rand.Reader, responderKey(issuer.Certificate()))
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	issued, err := r.deps.Authority.Issue(ctx, ca.Request{
		Door: policy.SelfDoor, PublicKey: spki, Profile: ResponderProfile, IssuerID: issuer.ID(),
	})
	if err != nil {
		return nil, fmt.Errorf("couldn't issue a certificate for the OCSP responder: %w", err)
	}
	certificate, err := x509.ParseCertificate(issued.DER)
	if err != nil {
		return nil, err
	}
	algorithm, hash, err := x509der.SignatureAlgorithm(key.Public())
	if err != nil {
		return nil, err
	}
	named, err := keyHash(certificate)
	return &signer{
		sign: func(_ context.Context, data []byte) ([]byte, error) {
			return crypto.SignMessage(key, rand.Reader, data, hash)
		},
		certificate: issued.DER, algorithm: algorithm, keyHash: named, notAfter: issued.NotAfter,
		renewAt: issued.NotBefore.Add(issued.NotAfter.Sub(issued.NotBefore) * 2 / 3),
	}, err
}

// responderKey is the type of a responder's key: who verifies the issuer's RSA
// signatures may know no other.
func responderKey(issuer *x509.Certificate) string {
	if _, ok := issuer.PublicKey.(*rsa.PublicKey); ok {
		return "RSA-2048"
	}
	return "P-256"
}

// keyHash is the KeyHash by which a responder is named (RFC 6960 §4.2.1).
func keyHash(certificate *x509.Certificate) ([]byte, error) {
	bits, err := keyBits(certificate.RawSubjectPublicKeyInfo)
	if err != nil {
		return nil, err
	}
	sum := sha1.Sum(bits) //nolint:gosec // RFC 6960 §4.2.1
	return sum[:], nil
}

var errNoKey = errors.New("the certificate's key can't be read")
