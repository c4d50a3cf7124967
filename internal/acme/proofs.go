package acme

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/limits"
	"chancery/internal/policy"
	"chancery/internal/store"
	"chancery/internal/validation"
)

// reuseMargin is how long a proof must still hold to be used for a new order,
// where proofs hold much longer than that.
const reuseMargin = 5 * time.Minute

// given is the grant of the account that asks; nothing without one.
type given struct{ *policy.Grant }

func (d *Door) grantOf(ctx context.Context, r *request) (given, error) {
	if r.account.BindingID == "" {
		return given{}, nil
	}
	found, err := d.deps.Grants.Grant(ctx, r.account.BindingID)
	return given{found}, failure.Wrap("find grant", err)
}

// stands reports whether the grant stands for a proof of the name.
func (g given) stands(name identifier.Identifier, now time.Time) bool {
	return g.Grant != nil && g.Preauthorizes(name, now)
}

// settle makes a fresh authorization valid, as the grant stands for a proof.
// It lists one challenge, as clients expect of a valid one.
func (g given) settle(authz *store.Authorization, thumbprint string) {
	method := string(validation.DNS01)
	switch {
	case len(authz.Methods) > 0:
		method = authz.Methods[0]
	case authz.Identifier.Type == identifier.IP:
		method = string(validation.HTTP01)
	}
	authz.State, authz.GrantID, authz.Settled = store.AuthorizationValid, g.ID, authz.Created
	authz.Methods, authz.Method, authz.Thumbprint = []string{method}, method, thumbprint
}

// preauthorized lists the names of the order that no proof stands for, but a
// grant.
func preauthorized(order *store.Order) []identifier.Identifier {
	var names []identifier.Identifier
	for i := range order.Authorizations {
		if order.Authorizations[i].GrantID != "" {
			names = append(names, order.Authorizations[i].Name())
		}
	}
	return names
}

// countOrder holds the order against the limits.
func (d *Door) countOrder(ctx context.Context, order *store.Order, g given, fresh []store.Authorization) (*limits.Taken, error) {
	counted := limits.Order{AccountID: order.AccountID, Names: order.Identifiers, Renewal: order.Replaces != nil}
	if g.Grant != nil {
		counted.GrantID, counted.MaxRate = g.ID, g.MaxRate
	}
	for i := range fresh {
		if fresh[i].State == store.AuthorizationPending {
			counted.Unproven = append(counted.Unproven, fresh[i].Identifier)
		}
	}
	return d.deps.Limits.Order(ctx, counted)
}

// proofs are what the authorizations of a new order are chosen from.
type proofs struct {
	own   map[identifier.Identifier]store.Authorization // of the names themselves
	above map[identifier.Identifier]store.Authorization // of names above them (RFC 9444)
}

func (d *Door) findProofs(ctx context.Context, r *request, order *store.Order, g given) (found proofs, err error) {
	after := order.Created.Add(min(reuseMargin, r.AuthorizationLifetime/4))
	found.own, err = d.deps.Store.ValidAuthorizations(ctx, r.account.ID, order.Identifiers, after)
	if err != nil {
		return found, failure.Wrap("look for proofs", err)
	}
	for name, authz := range found.own {
		if authz.GrantID != "" && !g.stands(name, order.Created) {
			delete(found.own, name)
		}
	}
	if r.SubdomainAuth {
		found.above, err = d.deps.Store.ValidAncestors(ctx, r.account.ID, slices.DeleteFunc(slices.Clone(order.Identifiers), identifier.Identifier.IsWildcard), after)
	}
	return found, failure.Wrap("look for proofs above", err)
}

// authorizationsFor gives the order its authorizations: proofs of the same
// account that can still be used, those that the grant stands for, and new
// ones. It returns what has to be stored.
func (d *Door) authorizationsFor(ctx context.Context, r *request, order *store.Order, g given, wanted []wantedIdentifier) ([]store.Authorization, error) {
	found, err := d.findProofs(ctx, r, order, g)
	if err != nil {
		return nil, err
	}
	var fresh []store.Authorization
	var bad []Problem
	for i, name := range order.Identifiers {
		authz, known := found.own[name]
		if !known && !g.stands(name, order.Created) {
			authz, known = found.above[name]
		}
		if !known {
			if authz, known, err = d.newProof(r, order, g, wanted[i], fresh); err != nil {
				return nil, err
			}
			if !known {
				fresh = append(fresh, authz)
			}
		}
		if len(authz.Methods) == 0 {
			bad = append(bad, subproblem(rejectedIdentifier, name, "this CA offers no challenge that could prove it (acme.challenges)"))
		}
		if !slices.Contains(order.AuthorizationIDs, authz.ID) { // one above may serve several names
			order.AuthorizationIDs = append(order.AuthorizationIDs, authz.ID)
			order.Authorizations = append(order.Authorizations, authz)
		}
	}
	return fresh, together(bad)
}

// newProof makes the authorization of a name that has none, or finds it among
// the fresh ones of the same order.
func (d *Door) newProof(r *request, order *store.Order, g given, wanted wantedIdentifier, fresh []store.Authorization) (authz store.Authorization, known bool, err error) {
	name, err := identifier.ParseLoose(wanted.Type, wanted.Value)
	if err != nil {
		return authz, false, failure.Wrap("read name", err) // it was read before
	}
	stands := g.stands(name, order.Created)
	byAncestor := r.SubdomainAuth && !stands && wanted.AncestorDomain != "" && !name.IsWildcard()
	if byAncestor {
		name.Value = strings.ToLower(wanted.AncestorDomain)
		for i := range fresh {
			if fresh[i].Subdomains && fresh[i].Identifier == name {
				return fresh[i], true, nil
			}
		}
	}
	authz, err = d.draftAuthorization(r, name, order.Created, order.Expires)
	switch {
	case stands:
		g.settle(&authz, r.account.Key.Thumbprint)
	case byAncestor:
		forSubdomains(&authz)
	}
	return authz, false, err
}

// forSubdomains makes an authorization one that counts for the names below its
// own. That is proven by DNS only: a file on the host of a domain, or a TLS
// handshake with it, says nothing about the hosts below it, while who writes
// its zone rules over them (RFC 9444 §4.2, §6).
func forSubdomains(authz *store.Authorization) {
	authz.Subdomains = true
	authz.Methods = slices.DeleteFunc(authz.Methods, func(method string) bool { return !strings.HasPrefix(method, "dns-") })
}

// isAbove reports whether a domain is above a name: label for label, and not
// the name itself.
func isAbove(domain string, name identifier.Identifier) bool {
	above, err := identifier.ParseLoose(identifier.DNS, domain)
	return err == nil && name.Type == identifier.DNS && !above.IsWildcard() && strings.HasSuffix(name.Base().Value, "."+above.Value)
}

func (d *Door) draftAuthorization(r *request, name identifier.Identifier, now, expires time.Time) (store.Authorization, error) {
	id, err := d.newID()
	if err != nil {
		return store.Authorization{}, err
	}
	token := make([]byte, 20)
	if _, err := d.deps.Rand.Read(token); err != nil {
		return store.Authorization{}, failure.Wrap("make token", err)
	}
	authz := store.Authorization{
		ID: id, AccountID: r.account.ID, Identifier: name.Base(), Wildcard: name.IsWildcard(),
		Token: base64.RawURLEncoding.EncodeToString(token),
		State: store.AuthorizationPending, Created: now, Expires: expires,
	}
	for _, method := range r.Challenges {
		if validation.Method(method).Proves(name) && (method != string(validation.DNSPersist01) || len(r.PersistIssuers) > 0) {
			authz.Methods = append(authz.Methods, method)
		}
	}
	return authz, nil
}
