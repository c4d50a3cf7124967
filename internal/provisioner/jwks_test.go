package provisioner

import (
	"context"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/failure"
)

// New keys are taken as soon as they sign; withdrawn ones are not taken for
// long; and nobody can make the server ask all the time.
func TestRemoteKeysRotate(t *testing.T) {
	for name, kid := range map[string]string{"named": "second", "unnamed": ""} {
		t.Run(name, func(t *testing.T) {
			clock, i := newTestTime(), newTestIssuer(t)
			if kid == "" {
				i.set(func() { i.keys[0].KeyID = "" })
			}
			p := compile(t, oidcSpec(i), testDeps(t, clock))
			verify := func() error {
				_, err := p.Verify(t.Context(), i.sign(t, i.user(clock)))
				return err
			}
			if err := verify(); err != nil {
				t.Fatal(err)
			}
			old := i.keys[0]
			clock.pass(fetchPause)
			i.add(t, kid, jose.ES256)
			if err := verify(); err != nil {
				t.Errorf("a token signed with a new key: %v", err)
			}

			asked, began := i.requests(), clock.Now()
			forged := signWith(t, jose.JSONWebKey{Key: newTestKey(t, jose.ES256), KeyID: "x", Algorithm: "ES256"}, "", i.user(clock))
			for range 20 {
				mustRefuse(t, p, forged, failure.Unauthorized, "is")
			}
			if asked, most := i.requests()-asked, int(clock.Now().Sub(began)/newsPause); asked > most {
				t.Errorf("the provider was asked %d times because of forged tokens, in %d s", asked, most)
			}

			i.set(func() { i.keys = i.keys[1:] })
			clock.pass(longestAge)
			mustRefuse(t, p, signWith(t, old, "", i.user(clock)), failure.Unauthorized, "is")
			if err := verify(); err != nil {
				t.Errorf("a token signed with the key that is left: %v", err)
			}
		})
	}
}

// TestRemoteKeysRotateInABurst has new keys right after they were fetched: those
// who come with tokens by them wait, and share one request.
func TestRemoteKeysRotateInABurst(t *testing.T) {
	clock, i := newTestTime(), newTestIssuer(t)
	p := compile(t, oidcSpec(i), testDeps(t, clock))
	if _, err := p.Verify(t.Context(), i.sign(t, i.user(clock))); err != nil {
		t.Fatal(err)
	}
	i.add(t, "second", jose.ES256)
	token, asked := i.sign(t, i.user(clock)), i.requests()
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, err := p.Verify(t.Context(), token); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if i.requests() != asked+1 {
		t.Errorf("the provider was asked %d times", i.requests()-asked)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	unknown := jose.JSONWebKey{Key: newTestKey(t, jose.ES256), KeyID: "x", Algorithm: "ES256"}
	if _, err := p.Verify(ctx, signWith(t, unknown, "", i.user(clock))); failure.KindOf(err) != failure.Unavailable {
		t.Errorf("a requester who went away got %v", err)
	}
}

// While the provider is down, the keys that are known serve for a day.
func TestRemoteKeysOutlastTheProvider(t *testing.T) {
	clock, i := newTestTime(), newTestIssuer(t)
	spec := oidcSpec(i)
	p := compile(t, spec, testDeps(t, clock))
	if _, err := p.Verify(t.Context(), i.sign(t, i.user(clock))); err != nil {
		t.Fatal(err)
	}
	i.set(func() {
		i.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	})
	clock.pass(longestStale - time.Hour)
	if _, err := p.Verify(t.Context(), i.sign(t, i.user(clock))); err != nil {
		t.Errorf("within the day: %v", err)
	}
	clock.pass(fetchPause)
	unknown := jose.JSONWebKey{Key: newTestKey(t, jose.ES256), KeyID: "new", Algorithm: "ES256"}
	mustRefuse(t, p, signWith(t, unknown, "", i.user(clock)), failure.Unavailable, "can't be fetched")
	clock.pass(2 * time.Hour)
	mustRefuse(t, p, i.sign(t, i.user(clock)), failure.Unavailable, "can't be fetched")
	i.set(func() { i.answer = nil })
	clock.pass(fetchPause)
	if _, err := p.Verify(t.Context(), i.sign(t, i.user(clock))); err != nil {
		t.Errorf("when the provider is back: %v", err)
	}
}

// A provider that accepts and says nothing holds nobody for long; many who wait
// make one request.
func TestRemoteKeysOfASlowProvider(t *testing.T) {
	clock, i := newTestTime(), newTestIssuer(t)
	released := make(chan struct{})
	i.set(func() {
		i.answer = func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-released:
			case <-r.Context().Done():
			}
		}
	})
	defer close(released)
	deps := testDeps(t, clock)
	deps.Client = func(roots *x509.CertPool) *http.Client {
		client := NewClient(roots)
		client.Timeout = 300 * time.Millisecond
		return client
	}
	p := compile(t, oidcSpec(i), deps)
	token := i.sign(t, i.user(clock))

	start := time.Now()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { mustRefuse(t, p, token, failure.Unavailable, "can't be fetched just now") })
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := p.Verify(ctx, token); failure.KindOf(err) != failure.Unavailable {
		t.Errorf("a requester who went away got %v", err)
	}
	all.Wait()
	if took := time.Since(start); took > fetchTimeout {
		t.Errorf("eight requests took %v", took)
	}
}

// The server starts while the provider is not there.
func TestRemoteKeysStartLater(t *testing.T) {
	clock, i := newTestTime(), newTestIssuer(t)
	spec := oidcSpec(i)
	address := i.Listener.Addr().String()
	token := i.sign(t, i.user(clock))
	i.Close()
	p := compile(t, spec, testDeps(t, clock))
	mustRefuse(t, p, token, failure.Unavailable, "can't be fetched just now")

	again := httptest.NewUnstartedServer(i)
	listen(t, again, address)
	again.StartTLS()
	defer again.Close()
	clock.pass(fetchPause)
	if _, err := p.Verify(t.Context(), token); err != nil {
		t.Errorf("when the provider is there: %v", err)
	}
}

func TestFreshFor(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": longestAge, "public, max-age=3600": longestAge, "max-age=600": 10 * time.Minute, `Max-Age="120"`: 2 * time.Minute,
		"max-age=0": shortestAge, "max-age=-5": shortestAge, "no-store": shortestAge, "max-age=99999999999999999999": longestAge, "max-age=86400": longestAge,
	} {
		if got := freshFor(header); got != want {
			t.Errorf("%q: %v; want %v", header, got, want)
		}
	}
}

const p256JWK = `{"kty":"EC","crv":"P-256","kid":"a","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}` // RFC 7517 §A.1

// Providers publish keys for other uses in the same set.
func TestParseKeySet(t *testing.T) {
	for _, test := range []struct {
		set  string
		keys int
		says string
	}{
		{`{"keys":[` + p256JWK + `]}`, 1, ""},
		{`{"keys":[` + p256JWK + `,{"kty":"XYZ"},{"kty":"oct","k":"AAAA"},{"kty":"OKP","crv":"X25519","x":"AA"},7,` +
			strings.Replace(p256JWK, `"kid":"a"`, `"use":"enc"`, 1) + `,` + strings.Replace(p256JWK, `"kid":"a"`, `"alg":"RSA-OAEP"`, 1) + `]}`, 1, ""},
		{`{"keys":[` + strings.Replace(p256JWK, `}`, `,"x5c":["AAAA"],"d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}`, 1) + `]}`, 1, ""},
		{`{"keys":[]}`, 0, "no key that can verify"},
		{`{"keys":[{"kty":"oct","k":"AAAA"}]}`, 0, "shared secret"},
		{`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`, 0, "no key that can verify"},
		{`{"keys":7}`, 0, "couldn't read"},
		{`<html>`, 0, "couldn't read"},
		{`{"keys":[` + strings.Repeat("{},", maxKeys) + `{}]}`, 0, "at most 200"},
	} {
		found, err := parseKeySet([]byte(test.set))
		if len(found) != test.keys || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%.100s: %d keys, %v; want %d, %q", test.set, len(found), err, test.keys, test.says)
		}
		for _, key := range found {
			if !key.IsPublic() {
				t.Errorf("%.100s: a private key", test.set)
			}
		}
	}
}

func FuzzKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[` + p256JWK + `]}`))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},{"kty":"RSA","n":"","e":"AQAB"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		found, err := parseKeySet(data)
		if (err == nil) != (len(found) > 0) {
			t.Errorf("%d keys, %v", len(found), err)
		}
		for _, key := range found {
			if !key.IsPublic() || !key.Valid() {
				t.Errorf("%+v was taken", key)
			}
		}
	})
}

// FuzzDiscovery has a provider publish anything about itself: keys are taken
// only from where it may say that they are.
func FuzzDiscovery(f *testing.F) {
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
	defer server.Close()
	source := jsonSource{client: server.Client()}
	f.Add([]byte(`{"issuer":"` + server.URL + `/","jwks_uri":"https://login.corp/keys"}`))
	f.Add([]byte(`{"issuer":"` + server.URL + `","jwks_uri":"http://login.corp/keys"}`))
	f.Add([]byte(`{"issuer":"` + server.URL + `","jwks_uri":"https://user@login.corp/keys"}`))
	f.Add([]byte(`{"issuer":"` + server.URL + `","jwks_uri":"file:///etc/passwd"}`))
	f.Add([]byte(`{"issuer":["` + server.URL + `"],"jwks_uri":{}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, document []byte) {
		body = document
		address, err := source.discover(t.Context(), server.URL)
		if err != nil {
			return
		}
		if u, err := url.Parse(address); err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Hostname() != "127.0.0.1" && u.Hostname() != "::1" && u.Hostname() != "localhost" && !strings.HasPrefix(u.Hostname(), "127.") {
			t.Errorf("%s leads to %q", document, address)
		}
	})
}
