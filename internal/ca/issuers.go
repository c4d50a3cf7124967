package ca

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"chancery/internal/failure"
	"chancery/internal/profile"
)

// DefaultIssuer is the issuer of profiles that name none.
const DefaultIssuer = "default"

// signerWait is when to ask again for what a signer could not do.
const signerWait = 10 * time.Second

// errSigner is wrapped by the error for an issuer whose key can't be used now,
// before anything has been stored.
var errSigner = errors.New("the signer is not ready")

// signing is an issuer, and how profiles see it.
type signing struct {
	Issuer
	shape *profile.Issuer
}

// signers are all issuers that could sign.
type signers struct {
	named map[string]*signing // by the names that profiles give
	byID  map[string]*signing // these, and earlier generations
}

// SetIssuers replaces the issuers for all requests from now on; what has begun
// ends with the issuer it began with. Former are earlier generations, by ID. On
// an error nothing changes.
func (a *Authority) SetIssuers(issuers, former map[string]Issuer) error {
	next := signers{named: make(map[string]*signing, len(issuers)), byID: make(map[string]*signing, len(issuers)+len(former))}
	for _, group := range []map[string]Issuer{former, issuers} {
		for name, issuer := range group {
			shape, err := profile.NewIssuer(issuer.Certificate())
			if err != nil {
				return fmt.Errorf("couldn't use the issuer %s: %w", name, err)
			}
			next.byID[issuer.ID()] = &signing{issuer, shape}
		}
	}
	for name, issuer := range issuers {
		next.named[name] = next.byID[issuer.ID()]
	}
	if next.named[DefaultIssuer] == nil {
		return fmt.Errorf("there is no issuer %q", DefaultIssuer)
	}
	a.issuers.Store(&next)
	return nil
}

// issuerFor is the issuer of a profile's certificates, or the one of that ID.
func (a *Authority) issuerFor(p *profile.Profile, id string) (*signing, error) {
	all := a.issuers.Load()
	if id != "" {
		if found := all.byID[id]; found != nil {
			return found, nil
		}
		return nil, failure.New(failure.Unavailable, "the issuer %s is not there", id)
	}
	name := cmp.Or(p.Spec.Issuer, DefaultIssuer)
	if found := all.named[name]; found != nil {
		return found, nil
	}
	return nil, failure.New(failure.Unavailable, "the issuer %q of the profile %s is not there", name, p.Name)
}

// readyFor is issuerFor for an issuer that could sign now, so that what can't
// be signed is refused before it is stored.
func (a *Authority) readyFor(p *profile.Profile, id string) (*signing, error) {
	issuer, err := a.issuerFor(p, id)
	if err != nil {
		return nil, err
	}
	if err := issuer.Ready(); err != nil {
		return nil, &failure.Error{
			Op: "sign", Kind: failure.Unavailable, RetryAfter: signerWait, Err: fmt.Errorf("%w: %w", errSigner, err),
			Public: "the CA's key cannot be used just now; try again later",
		}
	}
	return issuer, nil
}

// Ready reports whether all issuers could sign now. Earlier generations are
// not asked.
func (a *Authority) Ready() error {
	issuers := a.issuers.Load().named
	for _, name := range slices.Sorted(maps.Keys(issuers)) {
		issuer := issuers[name]
		certificate := issuer.Certificate()
		if now := a.deps.Now(); now.After(certificate.NotAfter) {
			return fmt.Errorf("the issuing certificate %q expired at %s", certificate.Subject, certificate.NotAfter.Format(time.RFC3339))
		}
		if err := issuer.Ready(); err != nil {
			return err
		}
	}
	return nil
}
