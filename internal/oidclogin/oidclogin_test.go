package oidclogin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// browse is a browser: it follows the provider back to this machine.
func browse(pages io.Writer) func(context.Context, string) error {
	return func(ctx context.Context, address string) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		_, err = io.Copy(pages, answer.Body)
		return err
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestBrowser(t *testing.T) {
	p := newTestProvider(t)
	var out, pages bytes.Buffer
	token, err := Browser(within(t), Config{Issuer: p.URL + "/", ClientID: "chancery", Out: &out, Open: browse(&pages)})
	if err != nil {
		t.Fatal(err)
	}
	if claims := claimsOf(t, token); claims["sub"] != "ann" || claims["scope"] != "openid email profile" {
		t.Errorf("the token says %v", claims)
	}
	if !strings.Contains(out.String(), p.URL+"/authorize?") || !strings.Contains(pages.String(), "Logged in") {
		t.Errorf("shown: %s, %s", &out, &pages)
	}
}

// TestBrowserOfSeveralTenants logs in where the issuer tells the tenant only
// when somebody has.
func TestBrowserOfSeveralTenants(t *testing.T) {
	p := newTestProvider(t)
	config := Config{Issuer: p.URL + "/{tenantid}/v2.0", ClientID: "chancery", Open: browse(io.Discard)}
	p.metadata, p.answer = map[string]any{"issuer": config.Issuer}, map[string]string{"iss": p.URL + "/ours/v2.0"}
	for issuer, good := range map[string]bool{p.URL + "/ours/v2.0": true, p.URL + "/v2.0": false, p.URL + "/a/b/v2.0": false, "https://evil.example/ours/v2.0": false} {
		p.claims = map[string]any{"iss": issuer}
		if _, err := Browser(within(t), config); (err == nil) != good {
			t.Errorf("a token from %s: %v", issuer, err)
		}
	}
}

func TestBrowserRefuses(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(p *testProvider)
		says   string
	}{
		{"the person refuses", func(p *testProvider) {
			p.answer = map[string]string{"error": "access_denied", "error_description": "no\x1b[31m way"}
		}, "access_denied: no[31m way"},
		{"another provider answers", func(p *testProvider) { p.answer = map[string]string{"iss": "https://evil.example"} }, "the answer is from"},
		{"wrong code", func(p *testProvider) { p.answer = map[string]string{"code": "x"} }, "invalid_grant"},
		{"another login's token", func(p *testProvider) { p.claims = map[string]any{"nonce": "x"} }, "made for another login"},
		{"no nonce", func(p *testProvider) { p.claims = map[string]any{"nonce": nil} }, "made for another login"},
		{"another issuer's token", func(p *testProvider) { p.claims = map[string]any{"iss": "https://evil.example"} }, "is from"},
		{"another client's token", func(p *testProvider) { p.claims = map[string]any{"aud": "other"} }, "is not for the client"},
		{"a token for nobody", func(p *testProvider) { p.claims = map[string]any{"aud": 7} }, "is not for the client"},
		{"no ID token", func(p *testProvider) {
			p.tokenURL = func(w http.ResponseWriter, _ *http.Request) { write(w, 200, map[string]any{"access_token": "x"}) }
		}, "no ID token"},
		{"no JWT", func(p *testProvider) {
			p.tokenURL = func(w http.ResponseWriter, _ *http.Request) { write(w, 200, map[string]any{"id_token": "x"}) }
		}, "is no JWT"},
		{"a redirect", func(p *testProvider) {
			p.tokenURL = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://evil.example", http.StatusTemporaryRedirect)
			}
		}, "answered 307"},
		{"a long answer", func(p *testProvider) {
			p.tokenURL = func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, strings.Repeat(" ", largestAnswer+1))
			}
		}, "more than"},
		{"overload", func(p *testProvider) {
			p.tokenURL = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
		}, "answered 502"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newTestProvider(t)
			test.change(p)
			var pages bytes.Buffer
			token, err := Browser(within(t), Config{Issuer: p.URL, ClientID: "chancery", Open: browse(&pages)})
			if token != "" || err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%q, %v; want an error that says %q", token, err, test.says)
			}
			if refused := errors.Is(err, ErrRefused); refused != strings.Contains(test.name, "person") {
				t.Errorf("%v: refused is %v", err, refused)
			}
			if !strings.Contains(pages.String(), "Not logged in") {
				t.Errorf("the browser shows %s", &pages)
			}
		})
	}
}

// Some providers give a secret to programs that can't keep it, and want it.
func TestSecret(t *testing.T) {
	p := newTestProvider(t)
	p.secret = "not so secret"
	var waited waits
	config := Config{Issuer: p.URL, ClientID: "chancery", Open: browse(io.Discard), Wait: waited.wait}
	if _, err := Browser(within(t), config); err == nil || !strings.Contains(err.Error(), "invalid_client") {
		t.Errorf("without the secret: %v", err)
	}
	config.Secret = p.secret
	for name, login := range map[string]func(context.Context, Config) (string, error){"browser": Browser, "device": Device} {
		if _, err := login(within(t), config); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Where tokens don't hold addresses by themselves, they are asked for.
func TestBrowserAsksForTheAddress(t *testing.T) {
	p := newTestProvider(t)
	p.metadata = map[string]any{"claims_parameter_supported": true, "authorization_endpoint": p.URL + "/authorize?tenant=a"}
	var out bytes.Buffer
	if _, err := Browser(within(t), Config{Issuer: p.URL, ClientID: "chancery", Out: &out, Open: browse(io.Discard)}); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.Contains(text, "/authorize?tenant=a&") || !strings.Contains(text, "&claims=%7B%22id_token%22%3A%7B%22email%22") {
		t.Errorf("shown: %s", text)
	}
}

// Only who knows the state is heard, and only once.
func TestBrowserIgnoresOthers(t *testing.T) {
	p := newTestProvider(t)
	open := func(ctx context.Context, address string) error {
		u, err := url.Parse(address)
		if err != nil {
			return err
		}
		redirect, state := u.Query().Get("redirect_uri"), u.Query().Get("state")
		for _, other := range []string{redirect, redirect + "?error=access_denied", redirect + "?state=x&code=y", strings.TrimSuffix(redirect, callback) + "/?state=" + state} {
			answer, err := http.Get(other)
			if err != nil {
				return err
			}
			answer.Body.Close()
			if answer.StatusCode != http.StatusNotFound {
				t.Errorf("%s: %s", other, answer.Status)
			}
		}
		if err := browse(io.Discard)(ctx, address); err != nil {
			return err
		}
		answer, err := http.Get(redirect + "?code=again&state=" + state)
		if err != nil {
			return err
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusNotFound {
			t.Errorf("a second answer: %s", answer.Status)
		}
		return nil
	}
	if _, err := Browser(within(t), Config{Issuer: p.URL, ClientID: "chancery", Open: open}); err != nil {
		t.Error(err)
	}
	if p.polls != 1 {
		t.Errorf("the provider was asked for %d tokens", p.polls)
	}
}

func TestBrowserEndsWithItsContext(t *testing.T) {
	p := newTestProvider(t)
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	open := func(context.Context, string) error {
		cancel()
		return errors.New("there is no display")
	}
	_, err := Browser(ctx, Config{Issuer: p.URL, ClientID: "chancery", Open: open, Out: &out})
	if !errors.Is(err, context.Canceled) || !strings.Contains(out.String(), "there is no display") {
		t.Errorf("%v; shown: %s", err, &out)
	}
}

func TestProviderRefused(t *testing.T) {
	for _, test := range []struct {
		metadata map[string]any
		says     string
	}{
		{map[string]any{"issuer": "https://evil.example"}, "is about the issuer"},
		{map[string]any{"token_endpoint": "http://login.corp/token"}, "an https URL is needed"},
		{map[string]any{"authorization_endpoint": "javascript:alert(1)"}, "an https URL is needed"},
		{map[string]any{"token_endpoint": nil}, "no token_endpoint"},
		{map[string]any{"token_endpoint": 7}, "couldn't read"},
	} {
		p := newTestProvider(t)
		p.metadata = test.metadata
		if _, err := Browser(within(t), Config{Issuer: p.URL, ClientID: "chancery"}); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v: %v; want an error that says %q", test.metadata, err, test.says)
		}
	}
	if _, err := Device(within(t), Config{Issuer: "https://login.corp"}); err == nil {
		t.Error("there is no need of a client ID")
	}
}

// waits notes how long a login would have waited.
type waits []time.Duration

func (w *waits) wait(ctx context.Context, d time.Duration) error {
	*w = append(*w, d)
	return ctx.Err()
}

func TestDevice(t *testing.T) {
	p := newTestProvider(t)
	p.pending = []string{"authorization_pending", "slow_down", "authorization_pending"}
	var out bytes.Buffer
	var waited waits
	token, err := Device(within(t), Config{Issuer: p.URL, ClientID: "chancery", Scopes: []string{"groups"}, Out: &out, Wait: waited.wait})
	if err != nil {
		t.Fatal(err)
	}
	if claims := claimsOf(t, token); claims["sub"] != "ann" || claims["scope"] != "openid groups" {
		t.Errorf("the token says %v", claims)
	}
	if text := out.String(); !strings.Contains(text, "WDJB-[2JMJHT") || !strings.Contains(text, p.URL+"/activate") {
		t.Errorf("shown: %q", text)
	}
	want := waits{2 * time.Second, 2 * time.Second, 7 * time.Second, 7 * time.Second}
	if len(waited) != len(want) || waited[0] != want[0] || waited[2] != want[2] || waited[3] != want[3] {
		t.Errorf("waited %v; want %v", waited, want)
	}
}

func TestDeviceRefuses(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(p *testProvider)
		says   string
	}{
		{"the person refuses", func(p *testProvider) { p.pending = []string{"authorization_pending", "access_denied"} }, "access_denied: because"},
		{"too late", func(p *testProvider) { p.pending = []string{"expired_token"} }, "expired"},
		{"the provider doesn't do this", func(p *testProvider) { p.metadata = map[string]any{"device_authorization_endpoint": ""} }, "use a browser"},
		{"no code", func(p *testProvider) { p.metadata = map[string]any{"user_code": ""} }, "lacks one"},
		{"a strange place", func(p *testProvider) { p.metadata = map[string]any{"verification_uri": "file:///etc"} }, "lacks one"},
		{"another client's token", func(p *testProvider) { p.claims = map[string]any{"aud": "other"} }, "is not for the client"},
		{"wrong grant", func(p *testProvider) { p.pending = []string{"unsupported_grant_type"} }, "unsupported_grant_type"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newTestProvider(t)
			test.change(p)
			var waited waits
			token, err := Device(within(t), Config{Issuer: p.URL, ClientID: "chancery", Wait: waited.wait})
			if token != "" || err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%q, %v; want an error that says %q", token, err, test.says)
			}
			if refused := errors.Is(err, ErrRefused); refused != strings.Contains(test.name, "person") {
				t.Errorf("%v: refused is %v", err, refused)
			}
		})
	}
}

// A provider that is away for a moment is asked again, more slowly.
func TestDeviceOutlastsFaults(t *testing.T) {
	p := newTestProvider(t)
	p.tokenURL = func(w http.ResponseWriter, _ *http.Request) {
		if p.polls == 3 {
			p.tokenURL = nil
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	var waited waits
	if _, err := Device(within(t), Config{Issuer: p.URL, ClientID: "chancery", Wait: waited.wait}); err != nil {
		t.Fatal(err)
	}
	if len(waited) != 4 || waited[3] != 2*time.Second+3*pollSlower {
		t.Errorf("waited %v", waited)
	}
}

// Codes end when the provider said, and logins when their context does.
func TestDeviceExpires(t *testing.T) {
	p := newTestProvider(t)
	p.metadata = map[string]any{"expires_in": 1, "interval": 60}
	if _, err := Device(within(t), Config{Issuer: p.URL, ClientID: "chancery"}); !errors.Is(err, errExpired) {
		t.Errorf("an expired code gave %v", err)
	}
}

func FuzzCheck(f *testing.F) {
	l := &login{Config: Config{Issuer: "https://login.corp", ClientID: "chancery"}}
	f.Add("e30.eyJpc3MiOiJodHRwczovL2xvZ2luLmNvcnAiLCJhdWQiOiJjaGFuY2VyeSIsIm5vbmNlIjoibiJ9.")
	f.Add("..")
	f.Add("e30.bnVsbA.x")
	f.Fuzz(func(t *testing.T, token string) {
		if got, err := l.check(tokens{token}, "n"); err == nil && (got != token || strings.Count(token, ".") != 2) {
			t.Errorf("%q was taken", token)
		}
	})
}
