package provisioner

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/expr"
	"chancery/internal/failure"
)

func ownDeps(dir string) Deps {
	return Deps{Now: time.Now, Client: NewClient, Dir: dir, Audiences: func() []string { return []string{"https://ca.corp"} }}
}

func compileOwn(t testing.TB, name string, spec Spec, dir string) *Provisioner {
	t.Helper()
	p, err := Compile(name, spec, ownDeps(dir))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ownKey is a key, and its public half as a JWK.
func ownKey(t testing.TB) (*ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jose.JSONWebKey{Key: key.Public()}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return key, string(text)
}

func ownToken(t testing.TB, key *ecdsa.PrivateKey, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestSetKeepsWhatIsTheSame keeps what provisioners have fetched, over a reload
// that does not change them.
func TestSetKeepsWhatIsTheSame(t *testing.T) {
	dir := t.TempDir()
	_, public := ownKey(t)
	file := filepath.Join(dir, "ci.jwk")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(public)
	spec := Spec{Type: "jwk", Keys: []string{"ci.jwk"}}
	first := NewSet([]*Provisioner{compileOwn(t, "ci", spec, dir)}, nil)
	second := NewSet([]*Provisioner{compileOwn(t, "ci", spec, dir)}, first)
	if second.Get("ci") != first.Get("ci") {
		t.Error("the same provisioner was made anew")
	}
	spec.Labels = map[string]string{"team": "a"}
	third := NewSet([]*Provisioner{compileOwn(t, "ci", spec, dir)}, second)
	if third.Get("ci") == second.Get("ci") {
		t.Error("a changed spec was not taken over")
	}
	_, other := ownKey(t)
	write(other)
	fourth := NewSet([]*Provisioner{compileOwn(t, "ci", spec, dir)}, third)
	if fourth.Get("ci") == third.Get("ci") {
		t.Error("a changed file was not taken over")
	}
}

// recognizing is a verifier that knows its tokens.
type recognizing struct {
	Verifier
	issuer string
}

func (r recognizing) Recognizes(claims expr.Claims) bool { return claims["iss"] == r.issuer }

func TestFind(t *testing.T) {
	key, public := ownKey(t)
	spec := Spec{Type: "jwk", Keys: []string{public}}
	list := []*Provisioner{compileOwn(t, "ci", spec, "")}
	for i, issuer := range []string{"https://a.corp", "https://b.corp", "https://b.corp"} {
		p := compileOwn(t, fmt.Sprintf("p%d", i), spec, "")
		p.verifier = recognizing{p.verifier, issuer}
		list = append(list, p)
	}
	set := NewSet(list, nil)
	for _, test := range []struct{ name, issuer, want, refused string }{
		{issuer: "ci", want: "ci"},
		{issuer: "https://a.corp", want: "p0"},
		{name: "p2", issuer: "https://b.corp", want: "p2"},
		{name: "p1", issuer: "ci", want: "p1"},
		{issuer: "https://b.corp", refused: "may be one of the provisioners p1, p2; name the one"},
		{issuer: "https://c.corp", refused: `"https://c.corp", which is no provisioner of this CA`},
		{name: "gone", refused: `there is no provisioner "gone"`},
	} {
		found, err := set.Find(test.name, ownToken(t, key, map[string]any{"iss": test.issuer}))
		switch {
		case test.refused != "" && (err == nil || !strings.Contains(err.Error(), test.refused)):
			t.Errorf("%+v: %v", test, err)
		case test.refused == "" && (err != nil || found.Name != test.want):
			t.Errorf("%+v: %v, %v", test, found, err)
		}
	}
	if all := set.All(); len(all) != 4 || all[0].Name != "ci" {
		t.Errorf("all are %v", all)
	}
}

func TestNamesOfTheSpec(t *testing.T) {
	key, public := ownKey(t)
	now := time.Now().Unix()
	claims := map[string]any{"iss": "ci", "aud": "https://ca.corp", "sub": "web", "sans": []string{"z.corp"}, "jti": "1", "exp": now + 60, "iat": now}
	for _, test := range []struct {
		names []expr.Value[string]
		want  string
	}{
		{nil, "[dns:z.corp]"},
		{[]expr.Value[string]{expr.CEL[string](`"uri:spiffe://corp/" + token.sub`), expr.Literal("10.0.0.1")}, "[ip:10.0.0.1 uri:spiffe://corp/web]"},
		{[]expr.Value[string]{expr.CEL[string](`token.gone`)}, "gives no name by names[0] of the provisioner ci"},
		{[]expr.Value[string]{expr.CEL[string](`token.sub + "..corp"`)}, `the name "web..corp"`},
	} {
		p := compileOwn(t, "ci", Spec{Type: "jwk", Keys: []string{public}, Names: test.names}, "")
		identity, err := p.Verify(t.Context(), ownToken(t, key, claims))
		if got := fmt.Sprint(identity.Names, err); !strings.Contains(got, test.want) {
			t.Errorf("%v gives %s", test.names, got)
		}
	}
}

func TestKeysOfSettings(t *testing.T) {
	key, public := ownKey(t)
	private, err := jose.JSONWebKey{Key: key}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		public:                        "",
		`{"keys":[` + public + `]}`:   "",
		string(private):               "it is a private key",
		`{"kty":"oct","k":"AAAA"}`:    "it is no public key for signatures",
		`{"keys":[]}`:                 "there is no key in it",
		`{"kty":"EC","crv":"P-256"}`:  "it is no public key",
		"-----BEGIN NOTHING-----":     "there is no key in it",
		"{":                           "it is no JWK",
		strings.Repeat(" ", 3) + "{}": "it is no public key",
	} {
		if _, err := parseKeys([]byte(text)); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", text, err, want)
		}
	}
}

// FuzzParseJWT reads what anybody can send before anything is verified.
func FuzzParseJWT(f *testing.F) {
	key, public := ownKey(f)
	f.Add(ownToken(f, key, map[string]any{"iss": "ci", "aud": []string{"a"}, "exp": 1.5, "deep": map[string]any{"a": []any{1, nil}}}))
	f.Add("e30.e30.")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("eyJhbGciOiJFUzI1NiIsIng1YyI6WyJBQUFBIl19.e30.AAAA")
	set := NewSet([]*Provisioner{compileOwn(f, "ci", Spec{Type: "jwk", Keys: []string{public}}, "")}, nil)
	f.Fuzz(func(t *testing.T, token string) {
		parsed, err := parseJWT(token)
		if err != nil {
			if kind := failure.KindOf(err); kind != failure.Malformed && kind != failure.Unauthorized {
				t.Errorf("the error is %v", err)
			}
			return
		}
		if _, err := json.Marshal(parsed.claims); err != nil {
			t.Errorf("the claims can't be stored: %v", err)
		}
		if p, err := set.Find("", token); err == nil {
			if _, err := p.Verify(t.Context(), token); err == nil {
				t.Error("a token that nobody signed is good")
			}
		}
	})
}
