package provisioner

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"chancery/internal/duration"
	"chancery/internal/expr"
)

// Spec is a provisioner as the configuration file and the store have it. The
// tag "of" lists the types that a field belongs to; those without are common
// to all. Files are PEM, relative to the directory of the CA; what is stored
// holds the PEM itself instead.
type Spec struct {
	// How those who ask prove who they are: jwk (tokens signed by keys that are listed), oidc (those of an identity provider), x5c (signed by the key of a certificate from another CA), kubernetes (service accounts), aws, gcp and azure (instances of these clouds).
	Type string `yaml:"type" json:"type" enum:"jwk,oidc,x5c,kubernetes,aws,gcp,azure"`

	// The profiles that its tokens can have; the first is that of requests that name none. This opens restricted ones. Empty for all that are not restricted.
	Profiles []string `yaml:"profiles" json:"profiles,omitempty"`

	// The names that a token stands for, instead of its own: texts or expressions over token, as in [{cel: '"uri:spiffe://corp/" + token.sub'}]. Each is a DNS name, an address, uri:… or email:….
	Names []expr.Value[string] `yaml:"names" json:"names,omitempty"`

	// What profiles see as grant.labels.
	Labels map[string]string `yaml:"labels" json:"labels,omitempty"`

	// The longest time between the making and the expiry of a token; of aws, the longest since the instance was launched. Empty for 1h, 24h where others than this CA's clients make them (azure: 25h), and any of aws.
	Lifetime duration.Duration `yaml:"lifetime" json:"lifetime,omitempty" max:"398d"`

	// How far clocks may be apart. Empty for 1m.
	Skew duration.Duration `yaml:"skew" json:"skew,omitempty" max:"1h"`

	// Whether a token can be used again until it expires.
	Reuse bool `yaml:"reuse" json:"reuse,omitempty"`

	// Whether certificates can't be renewed by themselves, so that a new token is needed each time.
	NoRenewal bool `yaml:"no_renewal" json:"no_renewal,omitempty"`

	// The public keys that sign tokens: files (JWK, JWK set or PEM), or JWKs themselves, as in ['{"kty":"EC",…}'].
	Keys []string `yaml:"keys" json:"keys,omitempty" of:"jwk,kubernetes"`

	// Where the public keys are published, as a JWK set.
	JWKSURL string `yaml:"jwks_url" json:"jwks_url,omitempty" of:"jwk,kubernetes,gcp,azure" is:"url" optional:"yes"`

	// The CA certificates that the servers asked must have theirs from, a file. Empty for those that the system trusts.
	Root string `yaml:"root" json:"root,omitempty" of:"jwk,oidc,kubernetes,gcp,azure"`

	// The CA certificates that tokens' certificates must come from, files.
	Roots []string `yaml:"roots" json:"roots,omitempty" of:"x5c"`

	// The URL that the issuer of the tokens has. With {tenantid} in it, as in https://login.microsoftonline.com/{tenantid}/v2.0, it is that of each of the tenants.
	Issuer string `yaml:"issuer" json:"issuer,omitempty" of:"oidc,kubernetes,azure" is:"url" optional:"yes"`

	// The name under which the provider knows this CA's clients.
	ClientID string `yaml:"client_id" json:"client_id,omitempty" of:"oidc"`

	// What users allow this CA's clients to ask the provider for, besides openid. Empty for email and profile; add what makes the provider tell groups, often [email, groups].
	Scopes []string `yaml:"scopes" json:"scopes,omitempty" of:"oidc"`

	// The audiences that tokens may be made out for. Empty for the client_id of oidc, and else the URL of this CA.
	Audience []string `yaml:"audience" json:"audience,omitempty" of:"oidc,kubernetes,gcp,azure"`

	// The domains that users' verified email addresses must be in. Empty for any.
	Domains []string `yaml:"domains" json:"domains,omitempty" of:"oidc"`

	// The groups of which users must be in one. Empty for any.
	Groups []string `yaml:"groups" json:"groups,omitempty" of:"oidc"`

	// The API server that is asked about tokens (TokenReview).
	APIServer string `yaml:"api_server" json:"api_server,omitempty" of:"kubernetes" is:"url" optional:"yes"`

	// The token with which it is asked, a file.
	ServiceAccountToken string `yaml:"service_account_token" json:"service_account_token,omitempty" of:"kubernetes"`

	// The SPIFFE trust domain of service accounts, whose names are then spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/NAME.
	TrustDomain string `yaml:"trust_domain" json:"trust_domain,omitempty" of:"kubernetes"`

	// The namespaces whose service accounts may ask. Empty for all.
	Namespaces []string `yaml:"namespaces" json:"namespaces,omitempty" of:"kubernetes"`

	// The service accounts that may ask, NAMESPACE/NAME. Empty for all.
	ServiceAccounts []string `yaml:"service_accounts" json:"service_accounts,omitempty" of:"kubernetes"`

	// The accounts whose instances may ask.
	Accounts []string `yaml:"accounts" json:"accounts,omitempty" of:"aws"`

	// The regions whose instances may ask. Empty for all.
	Regions []string `yaml:"regions" json:"regions,omitempty" of:"aws"`

	// The projects whose instances may ask.
	Projects []string `yaml:"projects" json:"projects,omitempty" of:"gcp"`

	// The tenants whose instances may ask; of oidc, whose users.
	Tenants []string `yaml:"tenants" json:"tenants,omitempty" of:"azure,oidc"`

	// The subscriptions whose instances may ask. Empty for all.
	Subscriptions []string `yaml:"subscriptions" json:"subscriptions,omitempty" of:"azure"`

	// What the cloud signs with, files: of aws, certificates (PEM, each under a line "# REGION"), instead of those built in for these regions; of gcp and azure, keys (JWK set or PEM), instead of those fetched.
	Certificates []string `yaml:"certificates" json:"certificates,omitempty" of:"aws,gcp,azure"`
}

// Files are the files that the spec names, but for the token to ask a cluster
// with, which is not the CA's own.
func (s Spec) Files() []string {
	all := slices.Concat(s.Keys, s.Roots, s.Certificates, []string{s.Root})
	return slices.DeleteFunc(all, func(text string) bool { return text == "" || isContent(text) })
}

// isContent reports whether a setting is PEM or JSON, and not a file's name.
func isContent(text string) bool {
	return strings.Contains(text, "-----BEGIN ") || strings.HasPrefix(text, "{")
}

// ParseSpec reads a spec as it is stored and sent: JSON without unknown
// members.
func ParseSpec(text []byte) (Spec, error) {
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	var spec Spec
	if err := decoder.Decode(&spec); err != nil {
		return Spec{}, fmt.Errorf("couldn't read the provisioner: %w", err)
	}
	return spec, nil
}
