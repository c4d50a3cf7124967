package oidclogin

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// testProvider is a provider at which everybody logs in at once, and which can
// be told to misbehave. What a conformant one does is for the tests with a real
// one to show.
type testProvider struct {
	*httptest.Server

	mu       sync.Mutex
	metadata map[string]any                           // changes what it publishes
	claims   map[string]any                           // changes what is in the token
	answer   map[string]string                        // changes what comes back to the browser; "" takes it out
	pending  []string                                 // errors that the token endpoint gives first
	tokenURL func(http.ResponseWriter, *http.Request) // instead of its own answer
	codes    map[string]url.Values                    // what was asked for, by code
	polls    int
	secret   string // that clients must show
}

func newTestProvider(t *testing.T) *testProvider {
	t.Helper()
	p := &testProvider{codes: map[string]url.Values{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /organizations/v2.0/.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /device", p.device)
	mux.HandleFunc("POST /token", p.token)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

func write(w http.ResponseWriter, status int, value map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}

func changed(value, changes map[string]any) map[string]any {
	maps.Copy(value, changes)
	return value
}

func (p *testProvider) discovery(w http.ResponseWriter, _ *http.Request) {
	write(w, 200, changed(map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token",
		"device_authorization_endpoint": p.URL + "/device",
	}, p.metadata))
}

func (p *testProvider) authorize(w http.ResponseWriter, r *http.Request) {
	asked := r.URL.Query()
	code := fmt.Sprint("code-", len(p.codes))
	p.codes[code] = asked
	answer := url.Values{"code": {code}, "state": {asked.Get("state")}, "iss": {p.URL}}
	for name, value := range p.answer {
		answer.Set(name, value)
	}
	http.Redirect(w, r, asked.Get("redirect_uri")+"?"+answer.Encode(), http.StatusFound)
}

func (p *testProvider) device(w http.ResponseWriter, r *http.Request) {
	p.codes["device"] = url.Values{"client_id": {r.FormValue("client_id")}, "scope": {r.FormValue("scope")}}
	write(w, 200, changed(map[string]any{
		"device_code": "device", "user_code": "WDJB-\x1b[2JMJHT", "verification_uri": p.URL + "/activate", "expires_in": 600, "interval": 2,
	}, p.metadata))
}

func (p *testProvider) token(w http.ResponseWriter, r *http.Request) {
	p.polls++
	if p.tokenURL != nil {
		p.tokenURL(w, r)
		return
	}
	if r.FormValue("client_secret") != p.secret {
		write(w, 401, map[string]any{"error": "invalid_client"})
		return
	}
	if len(p.pending) > 0 {
		code := p.pending[0]
		p.pending = p.pending[1:]
		write(w, 400, map[string]any{"error": code, "error_description": "because\x07"})
		return
	}
	code := r.FormValue("code") + r.FormValue("device_code")
	asked, found := p.codes[code]
	delete(p.codes, code)
	challenge := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	proven := code == "device" || asked.Get("code_challenge_method") == "S256" &&
		asked.Get("code_challenge") == base64.RawURLEncoding.EncodeToString(challenge[:]) && asked.Get("redirect_uri") == r.FormValue("redirect_uri")
	if !found || !proven || r.FormValue("client_id") != asked.Get("client_id") {
		write(w, 400, map[string]any{"error": "invalid_grant"})
		return
	}
	claims := map[string]any{"iss": p.URL, "aud": []string{asked.Get("client_id")}, "sub": "ann", "scope": asked.Get("scope")}
	if nonce := asked.Get("nonce"); nonce != "" {
		claims["nonce"] = nonce
	}
	payload, _ := json.Marshal(changed(claims, p.claims))
	write(w, 200, map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": "e30." + base64.RawURLEncoding.EncodeToString(payload) + ".c2ln"})
}

// claimsOf reads a token of the provider.
func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	var claims map[string]any
	if payload, err := base64.RawURLEncoding.DecodeString(parts[1]); err != nil || json.Unmarshal(payload, &claims) != nil {
		t.Fatalf("%q is no token: %v", token, err)
	}
	return claims
}
