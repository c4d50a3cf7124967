package provisioner

import (
	"context"
	"errors"
	"time"

	"chancery/internal/duration"
	"chancery/internal/expr"
)

// defaultLifetime is the longest life of tokens that this CA's clients make.
const defaultLifetime = duration.Duration(time.Hour)

// jwkVerifier takes one-time tokens that are signed by listed keys.
type jwkVerifier struct {
	name  string
	keys  keySet
	rules ownRules
}

func newJWK(name string, spec Spec, deps Deps) (Verifier, error) {
	var errs []error
	if (len(spec.Keys) == 0) == (spec.JWKSURL == "") {
		errs = append(errs, mistake("keys", "either keys or jwks_url says by which keys tokens are signed; set one of them"))
	}
	listed, err := deps.listedKeys("keys", spec.Keys)
	errs = append(errs, err)
	var keys keySet = knownKeys{listed, "the keys of the provisioner " + name}
	if spec.JWKSURL != "" {
		client, err := deps.client(spec)
		if err == nil && !isSafe(spec.JWKSURL) {
			err = mistake("jwks_url", "keys can be fetched by https only")
		}
		if err != nil {
			errs = append(errs, err)
		} else {
			keys = newRemoteKeys(client, spec.JWKSURL, nil, deps)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &jwkVerifier{name, keys, newOwnRules(name, spec, deps)}, nil
}

func (v *jwkVerifier) Verify(ctx context.Context, token string) (Identity, error) {
	t, err := parseJWT(token)
	if err != nil {
		return Identity{}, err
	}
	if err := t.verify(ctx, v.keys); err != nil {
		return Identity{}, err
	}
	return v.rules.identify(t.claims)
}

// ownRules are how tokens in this CA's own form are read: those of the types
// jwk and x5c.
type ownRules struct {
	issuer    string // the provisioner's name
	audiences func() []string
	clock     clock
}

func newOwnRules(name string, spec Spec, deps Deps) ownRules {
	lifetime := spec.Lifetime
	if lifetime == 0 {
		lifetime = defaultLifetime
	}
	return ownRules{name, deps.Audiences, clock{deps.Now, lifetime.Std(), spec.Skew.Std()}}
}

// identify reads claims whose signature is good. A token is told from others
// by its "jti".
func (r ownRules) identify(claims expr.Claims) (Identity, error) {
	issuer, err := neededText(claims, "iss")
	if err == nil && issuer != r.issuer {
		err = unauthorized("the token is from %.100q; expected is %q, the provisioner's name", issuer, r.issuer)
	}
	if err == nil {
		err = checkAudience(claims, r.audiences())
	}
	if err != nil {
		return Identity{}, err
	}
	until, err := r.clock.check(claims)
	if err != nil {
		return Identity{}, err
	}
	identity := Identity{Claims: claims, SpendUntil: until}
	jti, jtiErr := neededText(claims, "jti")
	identity.Spend = digest(issuer, jti)
	var profileErr, namesErr, subjectErr error
	identity.Subject, subjectErr = neededText(claims, "sub")
	identity.Profile, profileErr = textOf(claims, "profile")
	sans, sansErr := textsOf(claims, "sans")
	if sansErr == nil {
		identity.Names, namesErr = parseNames(sans)
	}
	for _, err := range []error{jtiErr, subjectErr, profileErr, sansErr, namesErr} {
		if err != nil {
			return Identity{}, err
		}
	}
	return identity, nil
}
