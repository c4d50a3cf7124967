package provisioner

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/expr"
	"chancery/internal/failure"
)

const clusterIssuer = "https://kubernetes.default.svc.cluster.local"

// newCluster is an issuer that publishes its keys where and as API servers do:
// only to those who show a token.
func newCluster(t testing.TB) *testIssuer {
	t.Helper()
	c := newTestIssuer(t)
	c.set(func() {
		c.keys = nil
		c.jwksURI, c.bearer = c.URL+"/openid/v1/jwks", "own-token"
		c.cache = "public, max-age=3600"
		c.types = map[string]string{"/openid/v1/jwks": "application/jwk-set+json", "/.well-known/openid-configuration": "application/json"}
	})
	c.add(t, "h3pP9A5i7v8LmQ", jose.RS256)
	return c
}

// pod is what the cluster says of a pod, in the shape of Kubernetes 1.30 and
// later.
func (i *testIssuer) pod(clock *testTime) map[string]any {
	now := clock.Now().Unix()
	return map[string]any{
		"aud": []string{"https://ca.corp"}, "exp": now + 3607, "iat": now, "nbf": now,
		"iss": i.name, "jti": "ea28ed49-2e11-4280-9ec5-bc3d1d84661a", "sub": "system:serviceaccount:payments:web",
		"kubernetes.io": map[string]any{
			"namespace":      "payments",
			"node":           map[string]any{"name": "node-7", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1"},
			"pod":            map[string]any{"name": "web-0", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
			"serviceaccount": map[string]any{"name": "web", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
			"warnafter":      now + 3607,
		},
	}
}

// spec is a provisioner for pods of the cluster, with the token in a file.
func (i *testIssuer) clusterSpec(t testing.TB, deps Deps) Spec {
	t.Helper()
	if err := os.WriteFile(filepath.Join(deps.Dir, "token"), []byte(i.bearer+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Spec{Type: "kubernetes", Issuer: i.name, Root: i.root(), ServiceAccountToken: "token", TrustDomain: "corp.example"}
}

// clusterKeys are the cluster's public keys as a set.
func (i *testIssuer) publicSet(t testing.TB) string {
	t.Helper()
	var set jose.JSONWebKeySet
	for _, key := range i.keys {
		set.Keys = append(set.Keys, key.Public())
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestKubernetesTakesProjectedTokens(t *testing.T) {
	for _, test := range []struct {
		name   string
		spec   func(c *testIssuer, s *Spec)
		claims map[string]any
		names  string
	}{
		{name: "issuer"},
		{name: "jwks_url", spec: func(c *testIssuer, s *Spec) { s.JWKSURL, s.Issuer = c.jwksURI, "" }},
		{name: "keys elsewhere than the issuer", spec: func(c *testIssuer, s *Spec) {
			s.JWKSURL, s.Issuer = c.jwksURI, clusterIssuer
		}, claims: map[string]any{"iss": clusterIssuer}},
		{name: "API server", spec: func(c *testIssuer, s *Spec) { s.APIServer, s.Issuer = c.URL, "" }},
		{name: "API server and jwks_url", spec: func(c *testIssuer, s *Spec) { s.APIServer, s.JWKSURL = c.URL, c.jwksURI }},
		{name: "audience", spec: func(_ *testIssuer, s *Spec) { s.Audience = []string{"vault", "chancery"} }, claims: map[string]any{"aud": []string{"chancery"}}},
		{name: "filters", spec: func(_ *testIssuer, s *Spec) {
			s.Namespaces, s.ServiceAccounts = []string{"payments"}, []string{"payments/db", "payments/web"}
		}},
		{name: "names", spec: func(_ *testIssuer, s *Spec) {
			s.TrustDomain = ""
			s.Names = []expr.Value[string]{expr.CEL[string](`token["kubernetes.io"].serviceaccount.name + "." + token["kubernetes.io"].namespace + ".svc.corp.example"`)}
		}, names: "[dns:web.payments.svc.corp.example]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock, c := newTestTime(), newCluster(t)
			deps := testDeps(t, clock)
			spec := c.clusterSpec(t, deps)
			if test.spec != nil {
				test.spec(c, &spec)
			}
			if spec.APIServer != "" {
				newAPIServer(t, c, clock)
				spec.APIServer = c.URL
			}
			token := c.sign(t, with(c.pod(clock), test.claims))
			identity, err := compile(t, spec, deps).Verify(t.Context(), token)
			if err != nil {
				t.Fatal(err)
			}
			if test.names == "" {
				test.names = "[uri:spiffe://corp.example/ns/payments/sa/web]"
			}
			if got := fmt.Sprint(identity.Names); got != test.names || identity.Subject != "system:serviceaccount:payments:web" {
				t.Errorf("names %s of %q; want %s", got, identity.Subject, test.names)
			}
			if identity.Spend != "" {
				t.Error("the token can't be used again")
			}
		})
	}
}

// Requests need not name the provisioner.
func TestTokensAreRecognized(t *testing.T) {
	clock, c, i := newTestTime(), newCluster(t), newTestIssuer(t)
	deps := testDeps(t, clock)
	oidcOf := func(client string) Spec {
		spec := oidcSpec(i)
		spec.ClientID = client
		return spec
	}
	var list []*Provisioner
	for name, spec := range map[string]Spec{"users": oidcOf("chancery"), "others": oidcOf("other"), "pods": c.clusterSpec(t, deps)} {
		p, err := Compile(name, spec, deps)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	set := NewSet(list, nil)
	for name, token := range map[string]string{
		"users": i.sign(t, i.user(clock)), "pods": c.sign(t, c.pod(clock)),
		"others": i.sign(t, with(i.user(clock), map[string]any{"aud": "other"})),
		"":       i.sign(t, with(i.user(clock), map[string]any{"iss": "https://elsewhere.example"})),
	} {
		found, err := set.Find("", token)
		if name == "" && err == nil || name != "" && (err != nil || found.Name != name) {
			t.Errorf("the token of %q: %+v, %v", name, found, err)
		}
	}
}

// A file of keys is enough where the API server can't be reached.
func TestKubernetesKeysFile(t *testing.T) {
	clock, c := newTestTime(), newCluster(t)
	deps := testDeps(t, clock)
	if err := os.WriteFile(filepath.Join(deps.Dir, "cluster.jwks"), []byte(c.publicSet(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := compile(t, Spec{Type: "kubernetes", Keys: []string{"cluster.jwks"}, TrustDomain: "corp.example"}, deps)
	if _, err := p.Verify(t.Context(), c.sign(t, c.pod(clock))); err != nil {
		t.Error(err)
	}
	if c.requests() != 0 {
		t.Error("keys were fetched")
	}
}

func TestKubernetesRefuses(t *testing.T) {
	clock, c := newTestTime(), newCluster(t)
	newAPIServer(t, c, clock)
	deps := testDeps(t, clock)
	spec := c.clusterSpec(t, deps)
	spec.Namespaces, spec.ServiceAccounts = []string{"payments", "kube-system"}, []string{"payments/web", "other/web"}
	byKeys := compile(t, spec, deps)
	spec.APIServer = c.URL
	byReview := compile(t, spec, deps)
	good := c.pod(clock)
	now := clock.Now().Unix()
	details := func(changes map[string]any) map[string]any {
		return map[string]any{"kubernetes.io": with(good["kubernetes.io"].(map[string]any), changes)}
	}
	account := func(namespace, name string) map[string]any {
		changes := details(map[string]any{"namespace": namespace, "serviceaccount": map[string]any{"name": name}})
		changes["sub"] = serviceAccount + namespace + ":" + name
		return changes
	}
	for _, test := range []struct {
		name   string
		claims map[string]any
		kind   failure.Kind
		says   string // by keys; "" where the API server says it
	}{
		{"issuer", map[string]any{"iss": "https://evil.example"}, failure.Unauthorized, "is from"},
		{"audience", map[string]any{"aud": []string{clusterIssuer}}, failure.Unauthorized, "is for \"" + clusterIssuer},
		{"no audience", map[string]any{"aud": nil}, failure.Malformed, `no claim "aud"`},
		{"expired", map[string]any{"exp": now - 61, "iat": now - 3600}, failure.Unauthorized, "expired"},
		{"a secret's token, without end", map[string]any{"exp": nil}, failure.Malformed, `no claim "exp"`},
		{"extended for old clients", map[string]any{"exp": now + 365*86400}, failure.Unauthorized, "24h0m0s at most"},
		{"not yet valid", map[string]any{"nbf": now + 3600}, failure.Unauthorized, "good from"},
		{"a user", map[string]any{"sub": "system:admin"}, failure.Unauthorized, "a service account is needed"},
		{"a node", map[string]any{"sub": "system:node:node-7"}, failure.Unauthorized, "a service account is needed"},
		{"no name", map[string]any{"sub": "system:serviceaccount:payments:"}, failure.Unauthorized, "a service account is needed"},
		{"no namespace", map[string]any{"sub": "system:serviceaccount::web"}, failure.Unauthorized, "a service account is needed"},
		{"a path for a name", account("payments", "../../admin"), failure.Unauthorized, "a service account is needed"},
		{"a colon in the name", account("payments", "web:x"), failure.Unauthorized, "a service account is needed"},
		{"no details", map[string]any{"kubernetes.io": nil}, failure.Unauthorized, "kubernetes.io"},
		{"details that are a text", map[string]any{"kubernetes.io": "payments"}, failure.Unauthorized, "kubernetes.io"},
		{"details of another namespace", details(map[string]any{"namespace": "kube-system"}), failure.Unauthorized, "kubernetes.io"},
		{"details of another account", details(map[string]any{"serviceaccount": map[string]any{"name": "db"}}), failure.Unauthorized, "kubernetes.io"},
		{"namespace", account("other", "web"), failure.Unauthorized, "is in the namespace other"},
		{"account", account("kube-system", "web"), failure.Unauthorized, "is kube-system/web"},
	} {
		t.Run(test.name, func(t *testing.T) {
			token := c.sign(t, with(good, test.claims))
			mustRefuse(t, byKeys, token, test.kind, test.says)
			if _, err := byReview.Verify(t.Context(), token); err == nil || failure.KindOf(err) == failure.Unavailable {
				t.Errorf("asked of the API server: %v", err)
			}
		})
	}
	for name, p := range map[string]*Provisioner{"keys": byKeys, "review": byReview} {
		refusesForgeries(t, c, p, name == "keys", good)
		if _, err := p.Verify(t.Context(), c.sign(t, good)); err != nil {
			t.Errorf("the next good token by %s: %v", name, err)
		}
	}
}

func refusesForgeries(t *testing.T, c *testIssuer, p *Provisioner, byKeys bool, good map[string]any) {
	t.Helper()
	for name, token := range c.forgeries(t, good) {
		if strings.HasSuffix(name, "token") { // service accounts' have no such types
			continue
		}
		t.Run(name, func(t *testing.T) {
			if !byKeys {
				token.says = "" // the API server says nothing in detail
			}
			mustRefuse(t, p, token.text, token.kind, token.says)
		})
	}
}

// newAPIServer lets the cluster review tokens, by its own keys and as strictly
// as API servers are.
func newAPIServer(t testing.TB, c *testIssuer, clock *testTime) {
	t.Helper()
	judge := compile(t, Spec{
		Type: "kubernetes", Keys: []string{c.publicSet(t)}, Audience: []string{clusterIssuer, "https://ca.corp", "vault", "chancery"},
		TrustDomain: "cluster.local", Lifetime: 398 * 86400e9,
	}, testDeps(t, clock))
	bearer := c.bearer
	c.set(func() {
		c.reviews = func(w http.ResponseWriter, r *http.Request) { review(judge, bearer, w, r) }
	})
}

func review(judge *Provisioner, bearer string, w http.ResponseWriter, r *http.Request) {
	var body struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Spec       struct {
			Token     string   `json:"token"`
			Audiences []string `json:"audiences"`
		} `json:"spec"`
		Status map[string]any `json:"status"`
	}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	code := http.StatusCreated
	switch err := decoder.Decode(&body); {
	case r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews":
		code = http.StatusNotFound
	case r.Header.Get("Authorization") != "Bearer "+bearer:
		code = http.StatusUnauthorized
	case r.Method != http.MethodPost:
		code = http.StatusMethodNotAllowed
	case r.Header.Get("Content-Type") != "application/json":
		code = http.StatusUnsupportedMediaType
	case err != nil, body.APIVersion != "authentication.k8s.io/v1", body.Kind != "TokenReview", len(body.Status) > 0:
		code = http.StatusBadRequest
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	answered := map[string]any{"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{}, "status": "Failure", "code": code}
	if code == http.StatusCreated {
		answered = map[string]any{
			"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
			"metadata": map[string]any{"creationTimestamp": nil, "managedFields": []any{}},
			"spec":     map[string]any{"token": body.Spec.Token, "audiences": body.Spec.Audiences},
			"status":   reviewed(r.Context(), judge, body.Spec.Token, body.Spec.Audiences),
		}
	}
	_ = json.NewEncoder(w).Encode(answered)
}

// reviewed is the status of a review.
func reviewed(ctx context.Context, judge *Provisioner, token string, audiences []string) map[string]any {
	identity, err := judge.Verify(ctx, token)
	if err != nil {
		return map[string]any{"user": map[string]any{}, "error": "[invalid bearer token, " + err.Error() + "]"}
	}
	matching := slices.DeleteFunc(slices.Clone(audiences), func(audience string) bool {
		return checkAudience(identity.Claims, []string{audience}) != nil
	})
	if len(matching) == 0 {
		return map[string]any{"user": map[string]any{}, "error": "token audiences is invalid for the target audiences"}
	}
	return map[string]any{
		"authenticated": true, "audiences": matching,
		"user": map[string]any{
			"username": identity.Subject, "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798",
			"groups": []string{"system:serviceaccounts", "system:authenticated"},
			"extra":  map[string][]string{"authentication.kubernetes.io/pod-name": {"web-0"}},
		},
	}
}

// What an API server answers is believed only when it is an answer to this
// question.
func TestKubernetesReviewAnswers(t *testing.T) {
	answer := func(status string) string {
		return `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":` + status + `}`
	}
	const user = `"user":{"username":"system:serviceaccount:payments:web"}`
	for _, test := range []struct {
		name string
		code int
		body string
		kind failure.Kind
		says string
	}{
		{"not authenticated", 201, answer(`{"authenticated":false,"error":"token has expired"}`), failure.Unauthorized, "doesn't accept"},
		{"nothing said", 201, answer(`{}`), failure.Unauthorized, "doesn't accept"},
		{"for nobody", 201, answer(`{"authenticated":true,` + user + `}`), failure.Unauthorized, "but not for"},
		{"for others", 201, answer(`{"authenticated":true,"audiences":["` + clusterIssuer + `"],` + user + `}`), failure.Unauthorized, "but not for"},
		{"somebody else", 201, answer(`{"authenticated":true,"audiences":["https://ca.corp"],"user":{"username":"system:serviceaccount:payments:db"}}`), failure.Unauthorized, "its subject is another"},
		{"an old version", 201, strings.Replace(answer(`{"authenticated":true}`), "/v1", "/v1beta1", 1), failure.Unavailable, "can't be asked"},
		{"a status", 403, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`, failure.Unavailable, "can't be asked"},
		{"overload", 429, ``, failure.Unavailable, "can't be asked"},
		{"no JSON", 200, `ok`, failure.Unavailable, "can't be asked"},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock, c := newTestTime(), newCluster(t)
			deps := testDeps(t, clock)
			spec := c.clusterSpec(t, deps)
			spec.APIServer = c.URL
			c.set(func() {
				c.answer = func(w http.ResponseWriter, _ *http.Request) {
					w.WriteHeader(test.code)
					fmt.Fprint(w, test.body)
				}
			})
			mustRefuse(t, compile(t, spec, deps), c.sign(t, c.pod(clock)), test.kind, test.says)
		})
	}
}

// The cluster writes a new token into the file before the old one expires.
func TestKubernetesReadsItsTokenAgain(t *testing.T) {
	clock, c := newTestTime(), newCluster(t)
	deps := testDeps(t, clock)
	p := compile(t, c.clusterSpec(t, deps), deps)
	token := c.sign(t, c.pod(clock))
	c.set(func() { c.bearer = "next-token" })
	mustRefuse(t, p, token, failure.Unavailable, "can't be fetched")
	c.clusterSpec(t, deps)
	clock.pass(fetchPause)
	if _, err := p.Verify(t.Context(), token); err != nil {
		t.Error(err)
	}
}

// The token to ask the cluster with is for the issuer alone, unless the
// certificates of all that are asked must be the cluster's.
func TestKubernetesKeepsItsToken(t *testing.T) {
	clock, c := newTestTime(), newCluster(t)
	var shown []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown = append(shown, "elsewhere "+r.Header.Get("Authorization"))
		_, _ = w.Write([]byte(c.publicSet(t)))
	}))
	defer elsewhere.Close()
	var issuer *httptest.Server
	issuer = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown = append(shown, "issuer "+r.Header.Get("Authorization"))
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, issuer.URL, elsewhere.URL)
	}))
	defer issuer.Close()
	deps := testDeps(t, clock)
	spec := c.clusterSpec(t, deps)
	spec.Issuer, spec.Root = issuer.URL, ""
	token := c.sign(t, with(c.pod(clock), map[string]any{"iss": issuer.URL}))
	if _, err := compile(t, spec, deps).Verify(t.Context(), token); err != nil || strings.Join(shown, ", ") != "issuer Bearer own-token, elsewhere " {
		t.Errorf("shown were %q, %v", shown, err)
	}
}

func TestKubernetesSpec(t *testing.T) {
	clock := newTestTime()
	for _, test := range []struct {
		spec Spec
		says string
	}{
		{Spec{TrustDomain: "corp"}, "issuer: write by which"},
		{Spec{TrustDomain: "corp", ServiceAccountToken: "token"}, "issuer: write by which"},
		{Spec{Issuer: clusterIssuer}, "trust_domain: "},
		{Spec{Issuer: clusterIssuer, TrustDomain: "Corp/x"}, "trust_domain: "},
		{Spec{Issuer: "http://api.corp", TrustDomain: "corp"}, "issuer: "},
		{Spec{JWKSURL: "http://api.corp", TrustDomain: "corp"}, "jwks_url: "},
		{Spec{APIServer: "api.corp", TrustDomain: "corp"}, "api_server: "},
		{Spec{Issuer: clusterIssuer, TrustDomain: "corp", ServiceAccounts: []string{"a/b", "web"}}, "service_accounts[1]: "},
		{Spec{Keys: []string{"nowhere.jwks"}, TrustDomain: "corp"}, "keys[0]: "},
		{Spec{Keys: []string{"{}"}, TrustDomain: "corp"}, "keys[0]: "},
		{Spec{Keys: []string{"{}"}, APIServer: "https://api.corp", TrustDomain: "corp"}, "keys[0]: "},
		{Spec{Keys: []string{"{}"}, JWKSURL: "https://api.corp/keys", TrustDomain: "corp"}, "keys: either"},
		{Spec{Issuer: clusterIssuer, TrustDomain: "corp", ClientID: "c"}, "client_id: "},
	} {
		test.spec.Type = "kubernetes"
		if _, err := Compile("test", test.spec, testDeps(t, clock)); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%+v: %v; want a mistake at %s", test.spec, err, test.says)
		}
	}
	deps := testDeps(t, clock)
	deps.Dir = ""
	spec := Spec{Type: "kubernetes", Issuer: clusterIssuer, TrustDomain: "corp", ServiceAccountToken: "/etc/shadow"}
	if _, err := Compile("test", spec, deps); err == nil || !strings.Contains(err.Error(), "service_account_token: ") {
		t.Errorf("a file named from afar: %v", err)
	}
}

// Whatever a cluster signs, what comes of it names a service account.
func FuzzKubernetes(f *testing.F) {
	clock, c := newTestTime(), newCluster(f)
	c.add(f, "ed", jose.EdDSA)
	p := compile(f, Spec{Type: "kubernetes", Keys: []string{c.publicSet(f)}, TrustDomain: "corp.example"}, testDeps(f, clock))
	good, err := json.Marshal(c.pod(clock))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(strings.ReplaceAll(string(good), "web", "w/../b")))
	f.Add([]byte(`{"sub":"system:serviceaccount:a:b","kubernetes.io":[],"aud":"https://ca.corp","exp":1800000600}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		identity, err := p.Verify(t.Context(), signPayload(t, c.keys[1], "", payload))
		if err != nil {
			if kind := failure.KindOf(err); kind != failure.Malformed && kind != failure.Unauthorized {
				t.Errorf("%s: %v is of the kind %v", payload, err, kind)
			}
			return
		}
		if len(identity.Names) != 1 || strings.Count(identity.Names[0].Value, "/") != 6 {
			t.Errorf("%s gives %+v", payload, identity)
		}
	})
}

// Whatever an API server answers, nobody is taken for another.
func FuzzTokenReview(f *testing.F) {
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
	defer server.Close()
	r := newReviewer(jsonSource{client: server.Client()}, server.URL)
	f.Add([]byte(`{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":{"authenticated":true,"audiences":["a"],"user":{"username":"u"}}}`))
	f.Add([]byte(`{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":[]}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		body = answer
		err := r.review(t.Context(), "t", expr.Claims{"sub": "u"}, []string{"a"})
		if err == nil && (!strings.Contains(string(answer), "a") || !strings.Contains(string(answer), "u")) {
			t.Errorf("%s was believed", answer)
		}
	})
}
