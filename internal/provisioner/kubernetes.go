package provisioner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"chancery/internal/expr"
	"chancery/internal/identifier"
)

// What a pod finds of its cluster, used when the spec names no cluster.
const (
	inClusterKeys  = "https://kubernetes.default.svc/openid/v1/jwks"
	inClusterRoot  = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
	inClusterToken = "/var/run/secrets/kubernetes.io/serviceaccount/token" // #nosec G101 -- a path
)

// serviceAccount is how the API server calls service accounts.
const serviceAccount = "system:serviceaccount:"

// kubernetes takes the tokens of service accounts that the cluster projects
// into pods. They can be used until they expire, for a pod has no other.
type kubernetes struct {
	audiences   func() []string
	issuer      string    // "" for whoever has the keys
	keys        keySet    // nil when only the API server is asked
	reviewer    *reviewer // nil when it is not asked
	trustDomain string
	namespaces  []string
	accounts    []string // NAMESPACE/NAME
	clock       clock
}

func newKubernetes(name string, spec Spec, deps Deps) (Verifier, error) {
	k := &kubernetes{
		audiences: deps.Audiences, issuer: spec.Issuer, trustDomain: spec.TrustDomain,
		namespaces: spec.Namespaces, accounts: spec.ServiceAccounts,
		clock: clock{deps.Now, cmp.Or(spec.Lifetime.Std(), othersLifetime), spec.Skew.Std()},
	}
	if len(spec.Audience) > 0 {
		k.audiences = func() []string { return spec.Audience }
	}
	if spec.Issuer == "" && spec.JWKSURL == "" && spec.APIServer == "" && len(spec.Keys) == 0 {
		if _, err := os.Stat(inClusterRoot); err != nil || spec.Root != "" || spec.ServiceAccountToken != "" {
			return nil, mistake("issuer", "write by which issuer, jwks_url, keys or api_server tokens can be checked; without all of them, and root and service_account_token, a pod uses those of its cluster")
		}
		spec.JWKSURL, spec.Root, spec.ServiceAccountToken = inClusterKeys, inClusterRoot, inClusterToken
		deps.Dir = "/" // these files may be read whoever made the provisioner
	}
	err := errors.Join(k.connect(name, spec, deps), k.checkSpec(spec))
	if err != nil {
		return nil, err
	}
	return k, nil
}

func (k *kubernetes) checkSpec(spec Spec) error {
	var errs []error
	if k.trustDomain == "" && len(spec.Names) == 0 {
		errs = append(errs, mistake("trust_domain", "write the SPIFFE trust domain in which service accounts get names, or set names"))
	}
	if k.trustDomain != "" {
		const path = "/ns/a/sa/a"
		id, err := identifier.Parse(identifier.URI, "spiffe://"+k.trustDomain+path)
		if err != nil || id.Value != "spiffe://"+k.trustDomain+path || strings.Contains(k.trustDomain, "/") {
			errs = append(errs, mistake("trust_domain", "%.100q is no SPIFFE trust domain; write it like corp.example, in lower case", k.trustDomain))
		}
	}
	if len(spec.Keys) > 0 && spec.JWKSURL != "" {
		errs = append(errs, mistake("keys", "either keys or jwks_url says by which keys tokens are signed; set one of them"))
	}
	for i, account := range k.accounts {
		if namespace, name, found := strings.Cut(account, "/"); !found || namespace == "" || name == "" {
			errs = append(errs, mistake(fmt.Sprintf("service_accounts[%d]", i), "%.100q is no service account; write NAMESPACE/NAME", account))
		}
	}
	for field, address := range map[string]string{"issuer": spec.Issuer, "jwks_url": spec.JWKSURL, "api_server": spec.APIServer} {
		if address != "" && !isSafe(address) {
			errs = append(errs, mistake(field, "%.100q is no https URL", address))
		}
	}
	return errors.Join(errs...)
}

// connect chooses how tokens are checked: by keys, by the API server, or by
// both. Keys keep those from the API server that anybody could have written.
func (k *kubernetes) connect(name string, spec Spec, deps Deps) error {
	if len(spec.Keys) > 0 {
		listed, err := deps.listedKeys("keys", spec.Keys)
		k.keys = knownKeys{listed, "the keys of the provisioner " + name}
		if err != nil || spec.APIServer == "" {
			return err
		}
	}
	client, err := deps.client(spec)
	if err != nil {
		return err
	}
	authorize, err := deps.bearer(spec.ServiceAccountToken)
	if err != nil {
		return err
	}
	if authorize != nil && spec.Root == "" { // with it, whoever is asked is known to be of the cluster
		authorize = atHome(cmp.Or(spec.APIServer, spec.JWKSURL, spec.Issuer), authorize)
	}
	source := jsonSource{client, authorize}
	if spec.APIServer != "" {
		k.reviewer = newReviewer(source, spec.APIServer)
	}
	switch {
	case k.keys != nil:
	case spec.JWKSURL != "":
		k.keys = newRemoteKeys(client, spec.JWKSURL, authorize, deps)
	case k.reviewer == nil:
		k.keys = discoverKeys(spec.Issuer, source, deps)
	}
	return nil
}

// atHome keeps a secret from other hosts than that of the address, to which an
// issuer's document may lead.
func atHome(address string, authorize func(*http.Request) error) func(*http.Request) error {
	return func(request *http.Request) error {
		if home, err := url.Parse(address); err == nil && request.URL.Host == home.Host {
			return authorize(request)
		}
		return nil
	}
}

// bearer adds the token in a file to requests. The file is read each time, for
// the cluster writes a new one before the old expires.
func (d Deps) bearer(file string) (func(*http.Request) error, error) {
	if file == "" {
		return nil, nil
	}
	if d.Dir == "" {
		return nil, mistake("service_account_token", "only the configuration file can name the file of a token")
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(d.Dir, file)
	}
	return func(request *http.Request) error {
		token, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("couldn't read the service account's token: %w", err)
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
		return nil
	}, nil
}

// Verify implements Verifier.
func (k *kubernetes) Verify(ctx context.Context, token string) (Identity, error) {
	t, err := parseJWT(token)
	if err != nil {
		return Identity{}, err
	}
	if k.keys != nil {
		err = t.verify(ctx, k.keys)
	}
	if err == nil && k.issuer != "" {
		err = checkIssuer(t.claims, k.issuer)
	}
	if err == nil {
		err = checkAudience(t.claims, k.audiences())
	}
	if err == nil {
		_, err = k.clock.check(t.claims)
	}
	if err == nil && k.reviewer != nil { // last, to ask about no token that can't be good
		err = k.reviewer.review(ctx, token, t.claims, k.audiences())
	}
	if err != nil {
		return Identity{}, err
	}
	return k.identify(t.claims)
}

// Recognizes implements Recognizer.
func (k *kubernetes) Recognizes(claims expr.Claims) bool {
	subject, _ := claims["sub"].(string)
	return strings.HasPrefix(subject, serviceAccount) && (k.issuer == "" || checkIssuer(claims, k.issuer) == nil)
}

// identify reads who the service account is: from the claims about it, which
// must say the same as the subject.
func (k *kubernetes) identify(claims expr.Claims) (Identity, error) {
	subject, err := neededText(claims, "sub")
	if err != nil {
		return Identity{}, err
	}
	rest, found := strings.CutPrefix(subject, serviceAccount)
	namespace, name, _ := strings.Cut(rest, ":")
	if !found || !isLabel(namespace) || !isSubdomain(name) {
		return Identity{}, unauthorized("the token is for %.200q; a service account is needed, %sNAMESPACE:NAME", subject, serviceAccount)
	}
	if err := checkDetails(claims, namespace, name); err != nil {
		return Identity{}, err
	}
	if err := k.checkAllowed(namespace, name); err != nil {
		return Identity{}, err
	}
	identity := Identity{Subject: subject, Claims: claims}
	if k.trustDomain != "" {
		id, err := identifier.Parse(identifier.URI, "spiffe://"+k.trustDomain+"/ns/"+namespace+"/sa/"+name)
		if err != nil {
			return Identity{}, unauthorized("the service account %s can't be in a SPIFFE ID: %v", subject, err)
		}
		identity.Names = []identifier.Identifier{id}
	}
	return identity, nil
}

// checkDetails wants the claim "kubernetes.io", which every token that is
// bound to a pod or made by the TokenRequest API has.
func checkDetails(claims expr.Claims, namespace, name string) error {
	details, _ := claims["kubernetes.io"].(map[string]any)
	account, _ := details["serviceaccount"].(map[string]any)
	if details["namespace"] != namespace || account["name"] != name {
		return unauthorized(`the token's claim "kubernetes.io" doesn't name the service account %s of its subject in the namespace %s; bring a token that is projected into the pod (or made by "kubectl create token")`, name, namespace)
	}
	return nil
}

func (k *kubernetes) checkAllowed(namespace, name string) error {
	if len(k.namespaces) > 0 && !slices.Contains(k.namespaces, namespace) {
		return unauthorized("the service account is in the namespace %s; this provisioner serves %s", namespace, strings.Join(k.namespaces, ", "))
	}
	if account := namespace + "/" + name; len(k.accounts) > 0 && !slices.Contains(k.accounts, account) {
		return unauthorized("the service account is %s; this provisioner serves %s", account, strings.Join(k.accounts, ", "))
	}
	return nil
}

// isLabel and isSubdomain are what Kubernetes allows as names of namespaces and
// service accounts (RFC 1123).
func isLabel(text string) bool {
	return len(text) <= 63 && !strings.Contains(text, ".") && isSubdomain(text)
}

func isSubdomain(text string) bool {
	if text == "" || len(text) > 253 {
		return false
	}
	for label := range strings.SplitSeq(text, ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}
