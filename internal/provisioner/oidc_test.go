package provisioner

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/expr"
	"chancery/internal/failure"
)

// oidcSpec is a provisioner for tokens of i.
func oidcSpec(i *testIssuer) Spec {
	return Spec{Type: "oidc", Issuer: i.name, ClientID: "chancery", Root: i.root()}
}

// user is what i says of somebody who has just logged in.
func (i *testIssuer) user(clock *testTime) map[string]any {
	now := clock.Now().Unix()
	return map[string]any{
		"iss": i.name, "aud": "chancery", "sub": "248289761001", "iat": now, "exp": now + 3600,
		"email": "ann@corp.example", "email_verified": true, "groups": []string{"ops", "dev"}, "nonce": "n",
	}
}

// Providers differ in what they leave open.
func TestOIDCTakesWhatProvidersMake(t *testing.T) {
	for _, test := range []struct {
		name   string
		alg    jose.SignatureAlgorithm
		kid    string
		issuer func(i *testIssuer) // changes what is published
		spec   func(s *Spec)
		claims map[string]any
		names  string
	}{
		{name: "ES256"},
		{name: "ES384", alg: jose.ES384},
		{name: "RS256", alg: jose.RS256},
		{name: "PS256", alg: jose.PS256},
		{name: "EdDSA", alg: jose.EdDSA},
		{name: "no kid", alg: jose.RS256, kid: "-"},
		{name: "keys without alg", issuer: func(i *testIssuer) { i.keys[1].Algorithm = "" }},
		{name: "slash published, none configured", issuer: func(i *testIssuer) { i.name += "/" }, spec: func(s *Spec) { s.Issuer = strings.TrimSuffix(s.Issuer, "/") }},
		{name: "slash configured, none published", spec: func(s *Spec) { s.Issuer += "/" }},
		{name: "audiences and azp", claims: map[string]any{"aud": []string{"account", "chancery"}, "azp": "chancery"}},
		{name: "one of several clients", spec: func(s *Spec) { s.Audience = []string{"phone"} }, claims: map[string]any{"aud": []string{"chancery"}, "azp": "phone"}},
		{name: "email_verified as text", claims: map[string]any{"email_verified": "true"}},
		{name: "domain", spec: func(s *Spec) { s.Domains = []string{"other.example", "@Corp.example"} }},
		{name: "group of a list", spec: func(s *Spec) { s.Groups = []string{"dev", "sales"} }},
		{name: "group as text", spec: func(s *Spec) { s.Groups = []string{"dev"} }, claims: map[string]any{"groups": "dev"}},
		{name: "said to be an ID token", claims: map[string]any{"typ": "ID"}},
		{name: "times with fractions", claims: map[string]any{"iat": 1799999999.5, "nbf": 1799999999.25}},
		{name: "names", spec: func(s *Spec) {
			s.Names = []expr.Value[string]{expr.CEL[string](`"uri:spiffe://corp/user/" + token.sub`), expr.CEL[string](`token.groups.map(g, g + ".corp.example")`)}
		}, claims: map[string]any{"email": nil}, names: "[dns:dev.corp.example dns:ops.corp.example uri:spiffe://corp/user/248289761001]"},
		{name: "address on the operator's word", spec: func(s *Spec) {
			s.Names = []expr.Value[string]{expr.CEL[string](`"email:" + token.unverified_email`)}
		}, claims: map[string]any{"email_verified": nil}},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock, i := newTestTime(), newTestIssuer(t)
			i.add(t, strings.Trim(cmp.Or(test.kid, "second"), "-"), cmp.Or(test.alg, jose.ES256))
			signer := i.keys[1]
			if test.issuer != nil {
				i.set(func() { test.issuer(i) })
			}
			spec := oidcSpec(i)
			if test.spec != nil {
				test.spec(&spec)
			}
			token := signWith(t, signer, "JWT", with(i.user(clock), test.claims))
			identity, err := compile(t, spec, testDeps(t, clock)).Verify(t.Context(), token)
			if err != nil {
				t.Fatal(err)
			}
			want := cmp.Or(test.names, "[email:ann@corp.example]")
			if got := fmt.Sprint(identity.Names); got != want || identity.Subject != "248289761001" {
				t.Errorf("names %s of %q; want %s", got, identity.Subject, want)
			}
			if want := clock.Now().Add(time.Hour + time.Minute); identity.Spend == "" || !identity.SpendUntil.Equal(want) {
				t.Errorf("spends %q until %v; want something until %v", identity.Spend, identity.SpendUntil, want)
			}
		})
	}
}

func TestOIDCRefuses(t *testing.T) {
	clock, i := newTestTime(), newTestIssuer(t)
	spec := oidcSpec(i)
	spec.Groups, spec.Domains = []string{"ops"}, []string{"corp.example"}
	p := compile(t, spec, testDeps(t, clock))
	good, began := i.user(clock), clock.Now()
	now := clock.Now().Unix()

	for _, test := range []struct {
		name   string
		claims map[string]any
		kind   failure.Kind
		says   string
	}{
		{"issuer", map[string]any{"iss": "https://evil.example"}, failure.Unauthorized, "is from \"https://evil.example\"; expected is " + i.name},
		{"no issuer", map[string]any{"iss": nil}, failure.Malformed, `no claim "iss"`},
		{"audience", map[string]any{"aud": "other"}, failure.Unauthorized, `is for "other"; expected is chancery`},
		{"no audience", map[string]any{"aud": nil}, failure.Malformed, `no claim "aud"`},
		{"audience of numbers", map[string]any{"aud": []int{1}}, failure.Malformed, `"aud"`},
		{"another audience without azp", map[string]any{"aud": []string{"chancery", "other"}}, failure.Unauthorized, "azp"},
		{"another's azp", map[string]any{"azp": "other"}, failure.Unauthorized, `made for "other" ("azp")`},
		{"expired", map[string]any{"iat": now - 7200, "exp": now - 61}, failure.Unauthorized, "expired at 2027-01-15T07:58:59Z"},
		{"no expiry", map[string]any{"exp": nil}, failure.Malformed, `no claim "exp"`},
		{"expiry as text", map[string]any{"exp": "soon"}, failure.Malformed, `"exp"`},
		{"expiry beyond all bounds", map[string]any{"exp": 1e300}, failure.Malformed, `"exp"`},
		{"expiry in ages", map[string]any{"exp": now + 25*3600}, failure.Unauthorized, "24h0m0s at most"},
		{"no iat", map[string]any{"iat": nil}, failure.Malformed, `no claim "iat"`},
		{"from the future", map[string]any{"iat": now + 120}, failure.Unauthorized, "good from"},
		{"not yet valid", map[string]any{"nbf": now + 120}, failure.Unauthorized, "good from"},
		{"no subject", map[string]any{"sub": nil}, failure.Malformed, `no claim "sub"`},
		{"address not verified", map[string]any{"email_verified": false}, failure.Unauthorized, "no verified email address"},
		{"address perhaps verified", map[string]any{"email_verified": 1}, failure.Unauthorized, "no verified email address"},
		{"no address", map[string]any{"email": nil}, failure.Unauthorized, "no verified email address"},
		{"no good address", map[string]any{"email": "Ann <ann@corp.example"}, failure.Unauthorized, "can't be in a certificate"},
		{"address in a list", map[string]any{"email": []string{"ann@corp.example"}}, failure.Malformed, `"email"`},
		{"domain", map[string]any{"email": "ann@corp.example.evil"}, failure.Unauthorized, "is not in corp.example"},
		{"subdomain", map[string]any{"email": "ann@x.corp.example"}, failure.Unauthorized, "is not in corp.example"},
		{"group", map[string]any{"groups": []string{"dev", "ops2"}}, failure.Unauthorized, "are \"dev, ops2\"; one of ops is needed"},
		{"no groups", map[string]any{"groups": nil}, failure.Unauthorized, "one of ops is needed"},
		{"groups as map", map[string]any{"groups": map[string]any{"ops": true}}, failure.Malformed, `"groups"`},
		{"access token by its claims", map[string]any{"typ": "Bearer"}, failure.Unauthorized, `"typ" is "Bearer"`},
		{"logout token by its claims", map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}, failure.Unauthorized, "logout"},
		{"jti as number", map[string]any{"jti": 7}, failure.Malformed, `"jti"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			mustRefuse(t, p, i.sign(t, with(good, test.claims)), test.kind, test.says)
		})
	}
	for name, token := range i.forgeries(t, good) {
		t.Run(name, func(t *testing.T) { mustRefuse(t, p, token.text, token.kind, token.says) })
	}
	if _, err := p.Verify(t.Context(), i.sign(t, good)); err != nil {
		t.Errorf("the next good token: %v", err)
	}
	if asked, most := i.requests(), 2+int(clock.Now().Sub(began)/newsPause); asked > most {
		t.Errorf("the provider was asked %d times for its keys", asked)
	}
}

type forgery struct {
	text string
	kind failure.Kind
	says string
}

// forgeries are tokens with good claims that i did not make.
func (i *testIssuer) forgeries(t *testing.T, good map[string]any) map[string]forgery {
	t.Helper()
	own := i.keys[0]
	stranger := jose.JSONWebKey{Key: newTestKey(t, jose.SignatureAlgorithm(own.Algorithm)), KeyID: own.KeyID, Algorithm: own.Algorithm}
	unknown := stranger
	unknown.KeyID = "unknown"
	confused := jose.JSONWebKey{Key: newTestKey(t, jose.PS256), KeyID: own.KeyID, Algorithm: "PS256"}
	public, err := own.Public().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	secret := jose.JSONWebKey{Key: public, KeyID: own.KeyID, Algorithm: "HS256"}
	header := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	parts := strings.Split(i.sign(t, good), ".")
	changed, err := json.Marshal(with(good, map[string]any{"jti": "changed"}))
	if err != nil {
		t.Fatal(err)
	}
	embedded, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(own.Algorithm), Key: stranger.Key}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	signed, _ := embedded.Sign([]byte(`{}`))
	withKey, _ := signed.CompactSerialize()
	return map[string]forgery{
		"another's key of the same name": {signWith(t, stranger, "JWT", good), failure.Unauthorized, "is not by any of"},
		"unknown key":                    {signWith(t, unknown, "JWT", good), failure.Unauthorized, `key "unknown"`},
		"key confusion":                  {signWith(t, confused, "JWT", good), failure.Unauthorized, "by PS256, which is none of"},
		"HMAC with the public key":       {signWith(t, secret, "JWT", good), failure.Unauthorized, `algorithm "HS256"`},
		"alg none":                       {header(`{"alg":"none"}`) + "." + parts[1] + ".", failure.Unauthorized, `algorithm "none"`},
		"alg NONE":                       {header(`{"alg":"NONE"}`) + "." + parts[1] + ".", failure.Unauthorized, `algorithm "NONE"`},
		"own key in the header":          {withKey, failure.Malformed, "jwk"},
		"access token":                   {signWith(t, own, "at+jwt", good), failure.Unauthorized, `type "at+jwt"; an ID token is needed`},
		"logout token":                   {signWith(t, own, "logout+jwt", good), failure.Unauthorized, `type "logout+jwt"`},
		"changed claims":                 {parts[0] + "." + header(string(changed)) + "." + parts[2], failure.Unauthorized, "is not by any of"},
		"claims twice":                   {signPayload(t, own, "JWT", []byte(`{"iss":"a","iss":"b"}`)), failure.Malformed, "twice"},
		"claims a list":                  {signPayload(t, own, "JWT", []byte(`[]`)), failure.Malformed, "no JSON object"},
		"two parts":                      {parts[0] + "." + parts[1], failure.Malformed, "three parts"},
		"empty":                          {"", failure.Malformed, "three parts"},
		"1 MB":                           {strings.Repeat("A", 1<<20), failure.Malformed, "at most 65536"},
	}
}

// One token is one thing to spend, however its signature is written; two are two.
func TestOIDCSpends(t *testing.T) {
	clock, i := newTestTime(), newTestIssuer(t)
	p := compile(t, oidcSpec(i), testDeps(t, clock))
	spends := func(changes map[string]any) string {
		t.Helper()
		identity, err := p.Verify(t.Context(), i.sign(t, with(i.user(clock), changes)))
		if err != nil {
			t.Fatal(err)
		}
		return identity.Spend
	}
	if first, second := spends(nil), spends(nil); first != second { // ECDSA signs the same differently each time
		t.Error("one token is two things to spend")
	}
	if spends(map[string]any{"jti": "a"}) != spends(map[string]any{"jti": "a", "groups": "x"}) {
		t.Error("tokens with one jti are two things to spend")
	}
	if spends(nil) == spends(map[string]any{"nonce": "m"}) || spends(map[string]any{"jti": "a"}) == spends(map[string]any{"jti": "b"}) {
		t.Error("two tokens are one thing to spend")
	}
	spec := oidcSpec(i)
	spec.Reuse = true
	p = compile(t, spec, testDeps(t, clock))
	if spends(nil) != "" {
		t.Error("a token is spent although it can be used again")
	}
}

// TestOIDCOfSeveralTenants takes tokens of the tenants that are listed, of a
// provider that writes the tenant into the issuer.
func TestOIDCOfSeveralTenants(t *testing.T) {
	const ours, partners, others = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222", "33333333-3333-4333-8333-333333333333"
	clock, i := newTestTime(), newTestIssuer(t)
	i.name = i.URL + "/{tenantid}/v2.0"
	i.path = "/organizations/v2.0/.well-known/openid-configuration"
	spec := oidcSpec(i)
	spec.Tenants = []string{ours, strings.ToUpper(partners)}
	p := compile(t, spec, testDeps(t, clock))
	of := func(issuer string, tenant any) string {
		return i.sign(t, with(i.user(clock), map[string]any{"iss": i.URL + "/" + issuer + "/v2.0", "tid": tenant}))
	}
	for _, tenant := range []string{ours, partners} {
		token := of(tenant, tenant)
		if _, err := p.Verify(t.Context(), token); err != nil {
			t.Errorf("%s: %v", tenant, err)
		}
		if found, err := NewSet([]*Provisioner{p}, nil).Find("", token); found != p {
			t.Errorf("%s is not recognized: %v", tenant, err)
		}
	}
	mustRefuse(t, p, of(others, others), failure.Unauthorized, "is from")
	mustRefuse(t, p, of(others, ours), failure.Unauthorized, "is from")
	mustRefuse(t, p, of(ours, others), failure.Unauthorized, "is from")
	mustRefuse(t, p, of(ours, partners), failure.Unauthorized, "is from")
	mustRefuse(t, p, of(ours, nil), failure.Malformed, `"tid"`)
	mustRefuse(t, p, of("{tenantid}", ours), failure.Unauthorized, "is from")
	mustRefuse(t, p, of("organizations", "organizations"), failure.Unauthorized, "is from")

	for says, change := range map[string]func(*Spec){
		"tenants: name":    func(s *Spec) { s.Tenants = nil },
		"tenants[0]":       func(s *Spec) { s.Tenants = []string{"corp.example"} },
		"tenants: a place": func(s *Spec) { s.Issuer, s.Tenants = i.URL, []string{ours} },
	} {
		spec := spec
		change(&spec)
		if _, err := Compile("test", spec, testDeps(t, clock)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v; want a mistake at %s", spec, err, says)
		}
	}
}

func TestOIDCSpec(t *testing.T) {
	clock := newTestTime()
	for _, test := range []struct {
		spec Spec
		says string
	}{
		{Spec{ClientID: "c"}, "issuer: "},
		{Spec{ClientID: "c", Issuer: "http://login.corp"}, "issuer: "},
		{Spec{ClientID: "c", Issuer: "http://127.evil.example"}, "issuer: "},
		{Spec{Issuer: "https://login.corp"}, "client_id: "},
		{Spec{ClientID: "c", Issuer: "https://login.corp", Root: "nowhere.pem"}, "root: "},
		{Spec{ClientID: "c", Issuer: "https://login.corp", Keys: []string{"x"}}, "keys: "},
		{Spec{ClientID: "c", Issuer: "https://login.corp", TrustDomain: "corp"}, "trust_domain: "},
	} {
		test.spec.Type = "oidc"
		if _, err := Compile("test", test.spec, testDeps(t, clock)); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%+v: %v; want a mistake at %s", test.spec, err, test.says)
		}
	}
}

// What discovery says is taken only from the issuer itself, by https.
func TestOIDCDiscoveryRefuses(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"another issuer": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"issuer":"https://evil.example"}`) },
		"no JSON":        func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `<html>`) },
		"elsewhere":      func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusFound) },
		"error":          func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"without end":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat(" ", fetchLargest+1)) },
		"closed":         func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"keys of this machine": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"issuer":"https://%s","jwks_uri":"http://127.0.0.1/keys"}`, r.Host)
		},
		"keys by http": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"issuer":"https://%s","jwks_uri":"http://login.corp/keys"}`, r.Host)
		},
	} {
		t.Run(name, func(t *testing.T) {
			clock, i := newTestTime(), newTestIssuer(t)
			i.set(func() { i.answer = answer })
			p := compile(t, oidcSpec(i), testDeps(t, clock))
			token := i.sign(t, i.user(clock))
			mustRefuse(t, p, token, failure.Unavailable, "can't be fetched just now")
			i.set(func() { i.answer = nil })
			mustRefuse(t, p, token, failure.Unavailable, "can't be fetched just now") // not asked again so soon
			clock.pass(fetchPause)
			if _, err := p.Verify(t.Context(), token); err != nil {
				t.Errorf("when the provider is right again: %v", err)
			}
		})
	}
}

// Whatever a provider signs, what comes of it has passed every check.
func FuzzOIDC(f *testing.F) {
	clock, i := newTestTime(), newTestIssuer(f)
	i.add(f, "ed", jose.EdDSA)
	p := compile(f, oidcSpec(i), testDeps(f, clock))
	f.Add([]byte(`{"iss":"` + i.name + `","aud":["chancery"],"azp":"chancery","sub":"1","iat":1800000000,"exp":1800003600,"email":"a@b.c","email_verified":true}`))
	f.Add([]byte(`{"iss":"` + i.name + `/","aud":"chancery","sub":"1","iat":1.8e9,"exp":1800003600.5,"nbf":-1,"email":"a@b","email_verified":"true","groups":[[]]}`))
	f.Add([]byte(`{"iss":7,"aud":{},"exp":1e999}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		identity, err := p.Verify(t.Context(), signPayload(t, i.keys[1], "", payload))
		if err != nil {
			if kind := failure.KindOf(err); kind != failure.Malformed && kind != failure.Unauthorized {
				t.Errorf("%s: %v is of the kind %v", payload, err, kind)
			}
			return
		}
		if identity.Subject == "" || identity.Spend == "" || len(identity.Names) != 1 || !identity.SpendUntil.After(clock.Now()) {
			t.Errorf("%s gives %+v", payload, identity)
		}
	})
}
