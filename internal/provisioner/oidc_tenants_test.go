package provisioner

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/failure"
)

// A key that is for the tokens of one tenant signs none of another's.
func TestOIDCKeysOfOneTenant(t *testing.T) {
	const ours, others = "11111111-1111-4111-8111-111111111111", "33333333-3333-4333-8333-333333333333"
	clock, i := newTestTime(), newTestIssuer(t)
	i.name = i.URL + "/{tenantid}/v2.0"
	spec := oidcSpec(i)
	spec.Tenants = []string{ours}
	token := i.sign(t, with(i.user(clock), map[string]any{"iss": i.URL + "/" + ours + "/v2.0", "tid": ours}))
	for issuer, good := range map[string]bool{
		i.name: true, "": true, strings.ReplaceAll(i.name, "{tenantid}", others): false, "https://elsewhere.example": false,
	} {
		set := publish(t, issuer, i.keys[0].Public())
		i.set(func() {
			i.answer = func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/keys") {
					_, _ = w.Write(set)
					return
				}
				fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, i.name, i.jwksURI)
			}
		})
		p := compile(t, spec, testDeps(t, clock))
		if _, err := p.Verify(t.Context(), token); good != (err == nil) {
			t.Errorf("by a key of %q: %v", issuer, err)
		}
		if !good {
			mustRefuse(t, p, token, failure.Unauthorized, "none of the keys")
		}
	}
}

// publish is a set of a key that is for an issuer, and one that is for all.
func publish(t *testing.T, issuer string, key jose.JSONWebKey) []byte {
	t.Helper()
	private := jose.JSONWebKey{Key: newTestKey(t, jose.ES256), KeyID: "shared", Use: "sig"}
	shared := private.Public()
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key, shared}})
	if err == nil {
		err = json.Unmarshal(text, &set)
	}
	if err == nil && issuer != "" {
		set.Keys[0]["issuer"] = issuer
	}
	if err == nil {
		text, err = json.Marshal(set)
	}
	if err != nil {
		t.Fatal(err)
	}
	return text
}
