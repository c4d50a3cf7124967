package provisioner

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/expr"
	"chancery/internal/identifier"
)

// othersLifetime is the longest that tokens which others make are good for, if
// nothing else is said.
const othersLifetime = 24 * time.Hour

// oidc takes the ID tokens of an OpenID provider (OpenID Connect Core §2).
type oidc struct {
	issuer  string   // may have a place for the tenant
	tenants []string // whose users may ask, in lower case; nil unless issuer has a place for them
	clients []string // for whom tokens may be made out; the first is what clients of this CA use
	domains []string
	groups  []string
	named   bool // the spec gives the names
	keys    keySet
	clock   clock
}

func newOIDC(_ string, spec Spec, deps Deps) (Verifier, error) {
	var errs []error
	if !isSafe(spec.Issuer) {
		errs = append(errs, mistake("issuer", "write the URL of the OpenID provider, https://…, as its tokens have it in \"iss\""))
	}
	clients := spec.Audience
	if spec.ClientID != "" {
		clients = append([]string{spec.ClientID}, clients...)
	}
	if len(clients) == 0 {
		errs = append(errs, mistake("client_id", "write the name under which the provider knows the clients of this CA"))
	}
	tenants, tenantsErr := oidcTenants(spec)
	client, err := deps.client(spec)
	if err := errors.Join(append(errs, tenantsErr, err)...); err != nil {
		return nil, err
	}
	o := &oidc{
		issuer: spec.Issuer, tenants: tenants, clients: clients, groups: spec.Groups, named: len(spec.Names) > 0,
		keys:  discoverKeys(spec.Issuer, jsonSource{client: client}, deps),
		clock: clock{deps.Now, cmp.Or(spec.Lifetime.Std(), othersLifetime), spec.Skew.Std()},
	}
	for _, domain := range spec.Domains {
		o.domains = append(o.domains, strings.ToLower(strings.TrimPrefix(domain, "@")))
	}
	return o, nil
}

// tenantPlace is what Microsoft's provider has in its issuer in the place of
// the tenant, where it publishes what is common to all.
const tenantPlace = "{tenantid}"

// oidcTenants are those that are listed, for an issuer with a place for them.
// Without a list, everybody who opens an account there could come.
func oidcTenants(spec Spec) ([]string, error) {
	switch several := strings.Contains(spec.Issuer, tenantPlace); {
	case several && len(spec.Tenants) == 0:
		return nil, mistake("tenants", "name the tenants (their IDs) whose users may ask: the issuer is that of all")
	case !several && len(spec.Tenants) > 0:
		return nil, mistake("tenants", "a place for them is missing in issuer; write it like https://login.microsoftonline.com/%s/v2.0, or leave this out", tenantPlace)
	}
	return azureIDs("tenants", spec.Tenants)
}

// issuerOf is the issuer that a token must have: of several tenants', that of
// the tenant it names.
func (o *oidc) issuerOf(claims expr.Claims) (string, error) {
	if len(o.tenants) == 0 {
		return o.issuer, nil
	}
	tenant, err := neededText(claims, "tid")
	if err == nil && !slices.Contains(o.tenants, tenant) {
		err = unauthorized("the token is from the tenant %.60q; this provisioner serves %s", tenant, strings.Join(o.tenants, ", "))
	}
	return strings.ReplaceAll(o.issuer, tenantPlace, tenant), err
}

// Verify implements Verifier, by the steps of OpenID Connect Core §3.1.3.7. The
// nonce is for who asked the provider for the token to check, not for those who
// get it from them.
func (o *oidc) Verify(ctx context.Context, token string) (Identity, error) {
	signed, err := parseJWT(token)
	if err != nil {
		return Identity{}, err
	}
	if err := signed.verify(ctx, o.keys); err != nil {
		return Identity{}, err
	}
	if err := o.check(signed); err != nil {
		return Identity{}, err
	}
	identity := Identity{Claims: signed.claims}
	if identity.Subject, err = neededText(signed.claims, "sub"); err != nil {
		return Identity{}, err
	}
	if identity.SpendUntil, err = o.clock.check(signed.claims); err != nil {
		return Identity{}, err
	}
	if identity.Spend, err = signed.spend(); err != nil {
		return Identity{}, err
	}
	identity.Names, err = o.names(signed.claims)
	return identity, err
}

// Recognizes implements Recognizer.
func (o *oidc) Recognizes(claims expr.Claims) bool {
	return o.checkIssuer(&jwt{claims: claims}) == nil && checkAudience(claims, o.clients) == nil
}

func (o *oidc) check(signed *jwt) error {
	for _, check := range []func(*jwt) error{checkIDToken, o.checkIssuer, o.checkClient, o.checkGroups} {
		if err := check(signed); err != nil {
			return err
		}
	}
	return nil
}

// checkIDToken refuses what the provider signs with the same keys for other
// uses: access tokens (RFC 9068 §2.1), of which some providers tell in the
// claim "typ", logout tokens (OpenID Connect Back-Channel Logout §2.4), and the
// like.
func checkIDToken(signed *jwt) error {
	typ, _ := signed.header.ExtraHeaders[jose.HeaderType].(string)
	kind := strings.TrimPrefix(strings.ToLower(typ), "application/")
	switch said := signed.claims["typ"]; {
	case kind != "" && kind != "jwt":
		return unauthorized("the token is of the type %.40q; an ID token is needed, which has the type JWT or none", typ)
	case said != nil && said != "ID":
		return unauthorized(`the token's claim "typ" is %.40q; an ID token is needed`, fmt.Sprint(said))
	case signed.claims["events"] != nil:
		return unauthorized(`the token has the claim "events", as logout tokens have it; an ID token is needed`)
	case signed.claims["iat"] == nil:
		return malformed(`the token has no claim "iat"; ID tokens must have it`)
	}
	return nil
}

func (o *oidc) checkIssuer(signed *jwt) error {
	issuer, err := o.issuerOf(signed.claims)
	if err != nil {
		return err
	}
	return checkIssuer(signed.claims, issuer)
}

// checkIssuer takes an issuer with and without a slash at its end for the same:
// their keys are found at the same place.
func checkIssuer(claims expr.Claims, issuers ...string) error {
	found, err := neededText(claims, "iss")
	is := func(issuer string) bool { return strings.TrimSuffix(found, "/") == strings.TrimSuffix(issuer, "/") }
	if err == nil && !slices.ContainsFunc(issuers, is) {
		err = unauthorized("the token is from %.200q; expected is %s", found, strings.Join(issuers, " or "))
	}
	return err
}

// checkClient wants the token to be made out for one of the clients, and asked
// for by one of them when it is for others, too.
func (o *oidc) checkClient(signed *jwt) error {
	claims := signed.claims
	if err := checkAudience(claims, o.clients); err != nil {
		return err
	}
	audience, _ := textsOf(claims, "aud")
	party, err := textOf(claims, "azp")
	switch {
	case err != nil:
		return err
	case party == "" && slices.ContainsFunc(audience, func(one string) bool { return !slices.Contains(o.clients, one) }):
		return unauthorized(`the token is for %.200q, and no claim "azp" says for whom it was made; expected is %s alone`, strings.Join(audience, ", "), o.clients[0])
	case party != "" && !slices.Contains(o.clients, party):
		return unauthorized(`the token was made for %.100q ("azp"); expected is %s`, party, strings.Join(o.clients, " or "))
	}
	return nil
}

// unverifiedEmail is what expressions find an address by that the provider has
// not verified.
const unverifiedEmail = "unverified_email"

// names is the user's address, unless the spec gives the names. One that the
// provider has not verified proves nothing: anybody may have typed it.
// Expressions find it under another name, so that nobody uses it without
// knowing.
func (o *oidc) names(claims expr.Claims) ([]identifier.Identifier, error) {
	address, err := textOf(claims, "email")
	if err != nil {
		return nil, err
	}
	verified := claims["email_verified"] == true || claims["email_verified"] == "true" // some providers write texts
	delete(claims, unverifiedEmail)
	if !verified && address != "" {
		delete(claims, "email")
		claims[unverifiedEmail] = address
	}
	if o.named && len(o.domains) == 0 {
		return nil, nil
	}
	if !verified || address == "" {
		return nil, unauthorized(`the token has no verified email address ("email" and "email_verified": true); ask for the scope email, have the provider verify the address, or set names in the provisioner`)
	}
	_, domain, _ := strings.Cut(address, "@")
	if len(o.domains) > 0 && !slices.Contains(o.domains, strings.ToLower(domain)) {
		return nil, unauthorized("the address %.100q is not in %s", address, strings.Join(o.domains, " or "))
	}
	if o.named {
		return nil, nil
	}
	name, err := identifier.Parse(identifier.Email, address)
	if err != nil {
		return nil, unauthorized("the address %.100q can't be in a certificate: %v", address, err)
	}
	return []identifier.Identifier{name}, nil
}

func (o *oidc) checkGroups(signed *jwt) error {
	if len(o.groups) == 0 {
		return nil
	}
	groups, err := textsOf(signed.claims, "groups")
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(groups, func(group string) bool { return slices.Contains(o.groups, group) }) {
		return unauthorized(`the user's groups (the claim "groups") are %.200q; one of %s is needed`, strings.Join(groups, ", "), strings.Join(o.groups, ", "))
	}
	return nil
}

// spend names the token among all of its provisioner: by its jti, or else by
// what it says. How it is written won't do, for a signature has other forms
// that verify as well.
func (t *jwt) spend() (string, error) {
	jti, err := textOf(t.claims, "jti")
	if jti != "" || err != nil {
		return digest("jti", jti), err
	}
	return digest("claims", string(t.signed.UnsafePayloadWithoutVerification())), nil
}

// discoverKeys are the keys of an issuer that publishes where they are (OpenID
// Connect Discovery §4), as OpenID providers and Kubernetes clusters do.
func discoverKeys(issuer string, source jsonSource, deps Deps) *remoteKeys {
	return newFetchedKeys("the keys of "+issuer, deps, func(ctx context.Context) ([]jose.JSONWebKey, time.Duration, error) {
		address, err := source.discover(ctx, issuer)
		if err != nil {
			return nil, 0, err
		}
		if strings.Contains(issuer, tenantPlace) {
			return source.keys(ctx, address, parseSharedKeys)
		}
		return source.keys(ctx, address, parseKeySet)
	})
}

// parseSharedKeys reads the keys of all tenants. Microsoft's provider says of
// each whose tokens it signs, in a member of its own ("issuer"); those of one
// tenant alone are left out, for they would count for the others as well.
func parseSharedKeys(data []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("couldn't read the JWK set: %w", err)
	}
	set.Keys = slices.DeleteFunc(set.Keys, func(text json.RawMessage) bool {
		var key struct {
			Issuer string `json:"issuer"`
		}
		err := json.Unmarshal(text, &key)
		return err != nil || key.Issuer != "" && !strings.Contains(key.Issuer, tenantPlace)
	})
	shared, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the JWK set: %w", err)
	}
	return parseKeySet(shared)
}

// discover asks an issuer where its keys are.
func (s jsonSource) discover(ctx context.Context, issuer string) (jwksURI string, err error) {
	address := strings.ReplaceAll(strings.TrimSuffix(issuer, "/"), tenantPlace, "organizations") + "/.well-known/openid-configuration"
	body, _, err := s.get(ctx, address)
	if err != nil {
		return "", err
	}
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return "", fmt.Errorf("couldn't read %s: %w", address, err)
	}
	if strings.TrimSuffix(document.Issuer, "/") != strings.TrimSuffix(issuer, "/") {
		return "", fmt.Errorf("couldn't use %s: it is about the issuer %.200q, not %q", address, document.Issuer, issuer)
	}
	if !isSafe(document.JWKSURI) || strings.HasPrefix(address, "https:") && !strings.HasPrefix(document.JWKSURI, "https:") {
		return "", fmt.Errorf("couldn't use %s: its jwks_uri %.200q is no https URL", address, document.JWKSURI)
	}
	return document.JWKSURI, nil
}
