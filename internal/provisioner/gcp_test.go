package provisioner

import (
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/expr"
	"chancery/internal/failure"
)

// newGoogle is an issuer whose keys are as Google's.
func newGoogle(t testing.TB) *testIssuer {
	t.Helper()
	i := newTestIssuer(t)
	i.set(func() { i.keys = nil })
	i.add(t, "0d8a67399e7882acae7d7f68b2280256a796a582", jose.RS256)
	return i
}

// gcpClaims are those that Google documents for the format "full".
func gcpClaims(clock *testTime) map[string]any {
	now := clock.Now().Unix()
	return map[string]any{
		"iss": "https://accounts.google.com", "iat": now, "exp": now + 3600, "aud": "https://ca.corp",
		"sub": "107517467455664443766", "azp": "107517467455664443766",
		"email": "123456789012-compute@developer.gserviceaccount.com", "email_verified": true,
		"google": map[string]any{"compute_engine": map[string]any{
			"project_id": "my-project", "project_number": 739419398126, "zone": "us-west1-a",
			"instance_id": "152986662232938449", "instance_name": "example-instance-1",
			"instance_creation_timestamp": 1496952205, "instance_confidentiality": 0,
			"license_id": []string{"1000204"},
		}},
	}
}

// gcpChanged are those claims with one about the instance changed.
func gcpChanged(clock *testTime, name string, value any) map[string]any {
	claims := gcpClaims(clock)
	google, _ := claims["google"].(map[string]any)
	instance, _ := google["compute_engine"].(map[string]any)
	google["compute_engine"] = with(instance, map[string]any{name: value})
	return claims
}

func (i *testIssuer) gcpSpec() Spec {
	return Spec{Type: "gcp", Projects: []string{"my-project"}, JWKSURL: i.jwksURI, Root: i.root()}
}

func TestGCPIdentifiesInstances(t *testing.T) {
	const names = "[dns:example-instance-1.c.my-project.internal dns:example-instance-1.us-west1-a.c.my-project.internal]"
	for _, test := range []struct {
		name   string
		spec   func(i *testIssuer, s *Spec)
		change func(claims map[string]any)
		names  string
	}{
		{name: "fetched keys", names: names},
		{name: "issuer without scheme", change: func(c map[string]any) { c["iss"] = "accounts.google.com" }, names: names},
		{name: "keys in the spec", spec: func(i *testIssuer, s *Spec) {
			s.Certificates, s.JWKSURL, s.Root = []string{i.publicSet(t)}, "", ""
		}, names: names},
		{name: "audience", spec: func(_ *testIssuer, s *Spec) { s.Audience = []string{"chancery"} },
			change: func(c map[string]any) { c["aud"] = "chancery" }, names: names},
		{name: "project of a domain", spec: func(_ *testIssuer, s *Spec) { s.Projects = []string{"corp.example:my-project"} },
			change: func(c map[string]any) {
				google, _ := c["google"].(map[string]any)
				instance, _ := google["compute_engine"].(map[string]any)
				instance["project_id"] = "corp.example:my-project"
			},
			names: "[dns:example-instance-1.c.my-project.corp.example.internal dns:example-instance-1.us-west1-a.c.my-project.corp.example.internal]"},
		{name: "names", spec: func(_ *testIssuer, s *Spec) {
			s.Names = []expr.Value[string]{expr.CEL[string](`token.google.compute_engine.instance_name + ".corp"`)}
		}, names: "[dns:example-instance-1.corp]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock, issuer := newTestTime(), newGoogle(t)
			spec, claims := issuer.gcpSpec(), gcpClaims(clock)
			if test.spec != nil {
				test.spec(issuer, &spec)
			}
			if test.change != nil {
				test.change(claims)
			}
			identity, err := compile(t, spec, testDeps(t, clock)).Verify(t.Context(), issuer.sign(t, claims))
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(identity.Names); got != test.names || !strings.HasSuffix(identity.Subject, "my-project/us-west1-a/example-instance-1") {
				t.Errorf("%s of %s; want %s", got, identity.Subject, test.names)
			}
			if identity.Spend == "" || !identity.SpendUntil.IsZero() {
				t.Errorf("the instance can ask again: %q until %s", identity.Spend, identity.SpendUntil)
			}
		})
	}
}

func TestGCPGivesAnInstanceOneCertificate(t *testing.T) {
	clock, issuer := newTestTime(), newGoogle(t)
	spent := func(spec Spec, claims map[string]any) string {
		identity, err := compile(t, spec, testDeps(t, clock)).Verify(t.Context(), issuer.sign(t, claims))
		if err != nil {
			t.Fatal(err)
		}
		return identity.Spend
	}
	spec := issuer.gcpSpec()
	first := spent(spec, gcpClaims(clock))
	if first != spent(spec, gcpChanged(clock, "zone", "us-west1-b")) || first == spent(spec, gcpChanged(clock, "instance_id", "152986662232938450")) {
		t.Error("what is spent is not the instance")
	}
	spec.Reuse = true
	if spent(spec, gcpClaims(clock)) != "" {
		t.Error("reuse spends the instance")
	}
}

func TestGCPRefusesOtherTokens(t *testing.T) {
	clock, issuer, other := newTestTime(), newGoogle(t), newGoogle(t)
	p := compile(t, issuer.gcpSpec(), testDeps(t, clock))
	now := clock.Now().Unix()
	for _, test := range []struct {
		name   string
		claims map[string]any
		kind   failure.Kind
		says   string
	}{
		{"project", gcpChanged(clock, "project_id", "other"), failure.Unauthorized, `of the project "other"; this provisioner serves my-project`},
		{"issuer", with(gcpClaims(clock), map[string]any{"iss": "https://accounts.example"}), failure.Unauthorized, "expected is https://accounts.google.com or accounts.google.com"},
		{"no issuer", with(gcpClaims(clock), map[string]any{"iss": nil}), failure.Malformed, `no claim "iss"`},
		{"audience", with(gcpClaims(clock), map[string]any{"aud": "https://vault.corp"}), failure.Unauthorized, `is for "https://vault.corp"; expected is https://ca.corp`},
		{"no audience", with(gcpClaims(clock), map[string]any{"aud": nil}), failure.Malformed, `no claim "aud"`},
		{"expired", with(gcpClaims(clock), map[string]any{"iat": now - 7200, "exp": now - 61}), failure.Unauthorized, "the token expired at"},
		{"not yet valid", with(gcpClaims(clock), map[string]any{"iat": now + 120, "exp": now + 3600}), failure.Unauthorized, "the token is good from"},
		{"too long", with(gcpClaims(clock), map[string]any{"exp": now + 100_000}), failure.Unauthorized, "takes 24h0m0s at most"},
		{"no expiry", with(gcpClaims(clock), map[string]any{"exp": nil}), failure.Malformed, `no claim "exp"`},
		{"format standard", with(gcpClaims(clock), map[string]any{"google": nil}), failure.Unauthorized, "format=full"},
		{"other shape", with(gcpClaims(clock), map[string]any{"google": map[string]any{"compute_engine": "yes"}}), failure.Unauthorized, "format=full"},
		{"no project", gcpChanged(clock, "project_id", nil), failure.Malformed, `no claim "project_id"`},
		{"no zone", gcpChanged(clock, "zone", nil), failure.Malformed, `no claim "zone"`},
		{"no id", gcpChanged(clock, "instance_id", nil), failure.Malformed, `no claim "instance_id"`},
		{"no name", gcpChanged(clock, "instance_name", nil), failure.Malformed, `no claim "instance_name"`},
		{"id as number", gcpChanged(clock, "instance_id", 152986662232938449), failure.Malformed, "must be a text"},
		{"name is no name", gcpChanged(clock, "instance_name", "*"), failure.Malformed, "none of DNS"},
	} {
		t.Run(test.name, func(t *testing.T) { mustRefuse(t, p, issuer.sign(t, test.claims), test.kind, test.says) })
	}
	good := gcpClaims(clock)
	mustRefuse(t, p, other.sign(t, good), failure.Unauthorized, "the token's signature")
	refuseForgeries(t, p, issuer, good)
}

// refuseForgeries tries what needs no key of the issuer.
func refuseForgeries(t *testing.T, p *Provisioner, issuer *testIssuer, claims map[string]any) {
	t.Helper()
	token := issuer.sign(t, claims)
	header, rest, _ := strings.Cut(token, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	mustRefuse(t, p, encode([]byte(`{"alg":"none","typ":"JWT"}`))+"."+payload+".", failure.Unauthorized, `"none"`)
	public, err := x509.MarshalPKIXPublicKey(issuer.keys[0].Public().Key)
	if err != nil {
		t.Fatal(err)
	}
	confused := signWith(t, jose.JSONWebKey{Key: public, KeyID: issuer.keys[0].KeyID, Algorithm: string(jose.HS256)}, "JWT", claims)
	mustRefuse(t, p, confused, failure.Unauthorized, `"HS256"`)
	mustRefuse(t, p, header+"."+encode([]byte(`{"iss":"https://accounts.google.com","tid":"72f988bf-86f1-41af-91ab-2d7cd011db47"}`))+"."+signature, failure.Unauthorized, "the token's signature")
	mustRefuse(t, p, header+"."+payload, failure.Malformed, "is no JWT")
	mustRefuse(t, p, token+strings.Repeat("A", 1<<20), failure.Malformed, "at most 65536")
}

// onlyAt answers requests for one URL, and fails the test for others.
type onlyAt struct {
	t       *testing.T
	address string
	body    string
}

func (o onlyAt) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.String() != o.address {
		o.t.Errorf("%s was asked; want %s", request.URL, o.address)
	}
	return &http.Response{StatusCode: http.StatusOK, Header: make(http.Header), Body: io.NopCloser(strings.NewReader(o.body)), Request: request}, nil
}

func TestGCPTakesGooglesKeysOnly(t *testing.T) {
	clock, google, other := newTestTime(), newGoogle(t), newGoogle(t)
	deps := testDeps(t, clock)
	deps.Client = func(*x509.CertPool) *http.Client {
		return &http.Client{Transport: onlyAt{t, "https://www.googleapis.com/oauth2/v3/certs", google.publicSet(t)}}
	}
	p := compile(t, Spec{Type: "gcp", Projects: []string{"my-project"}}, deps)
	if _, err := p.Verify(t.Context(), google.sign(t, gcpClaims(clock))); err != nil {
		t.Error(err)
	}
	mustRefuse(t, p, other.sign(t, gcpClaims(clock)), failure.Unauthorized, "https://www.googleapis.com/oauth2/v3/certs")
}

func TestGCPFetchesNothingWithKeysAtHand(t *testing.T) {
	clock, google := newTestTime(), newGoogle(t)
	deps := testDeps(t, clock)
	deps.Client = func(*x509.CertPool) *http.Client {
		t.Error("a client was made")
		return nil
	}
	if err := os.WriteFile(filepath.Join(deps.Dir, "google.json"), []byte(google.publicSet(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := compile(t, Spec{Type: "gcp", Projects: []string{"my-project"}, Certificates: []string{"google.json"}}, deps)
	if _, err := p.Verify(t.Context(), google.sign(t, gcpClaims(clock))); err != nil {
		t.Error(err)
	}
}

func TestGCPSpec(t *testing.T) {
	for says, spec := range map[string]Spec{
		"projects: name the projects":              {},
		"jwks_url: \"http://keys.example\" is no":  {Projects: []string{"p"}, JWKSURL: "http://keys.example"},
		"certificates[0]: the file can't be read":  {Projects: []string{"p"}, Certificates: []string{"none.json"}},
		"certificates[0]: this can't be used":      {Projects: []string{"p"}, Certificates: []string{"{}"}},
		"accounts: this belongs to provisioners":   {Projects: []string{"p"}, Accounts: []string{"123456789012"}},
		"names[0]: \"a b\" is no name":             {Projects: []string{"p"}, Names: []expr.Value[string]{expr.Literal("a b")}},
		"root: there is no certificate in it; wri": {Projects: []string{"p"}, Root: "-----BEGIN X"},
	} {
		spec.Type = "gcp"
		if _, err := Compile("test", spec, testDeps(t, newTestTime())); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v; want %s", err, says)
		}
	}
}

// FuzzGCPClaims takes nothing that doesn't name an instance of the project.
func FuzzGCPClaims(f *testing.F) {
	clock := newTestTime()
	key := jose.JSONWebKey{Key: newTestKey(f, jose.ES256), KeyID: "k", Algorithm: string(jose.ES256)}
	google := &testIssuer{keys: []jose.JSONWebKey{key}}
	p := compile(f, Spec{Type: "gcp", Projects: []string{"my-project"}, Certificates: []string{google.publicSet(f)}}, testDeps(f, clock))
	for _, claims := range []map[string]any{gcpClaims(clock), gcpChanged(clock, "instance_name", "*"), with(gcpClaims(clock), map[string]any{"google": nil})} {
		f.Add(payloadOf(signWith(f, key, "JWT", claims)))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		identity, err := p.Verify(t.Context(), signPayload(t, key, "JWT", payload))
		if err == nil && (len(identity.Names) == 0 || !strings.HasPrefix(identity.Subject, "my-project/") || identity.Spend == "") {
			t.Errorf("%s is taken for %+v", payload, identity)
		}
	})
}
