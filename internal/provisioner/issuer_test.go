package provisioner

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/failure"
)

// testIssuer signs tokens and publishes its keys over TLS, as identity
// providers and Kubernetes clusters do.
type testIssuer struct {
	*httptest.Server
	name string // "iss"

	mu      sync.Mutex
	keys    []jose.JSONWebKey // private; the last one signs
	asked   int               // for the keys
	answer  http.HandlerFunc  // instead of its own answers
	reviews http.HandlerFunc  // answers reviews of tokens
	bearer  string            // that requests must bring
	path    string            // of the discovery document
	jwksURI string
	types   map[string]string // content types, by path
	cache   string            // Cache-Control of the keys
}

func newTestIssuer(t testing.TB) *testIssuer {
	t.Helper()
	i := &testIssuer{}
	i.Server = httptest.NewTLSServer(i)
	t.Cleanup(i.Close)
	i.name, i.jwksURI = i.URL, i.URL+"/keys"
	i.path = "/.well-known/openid-configuration"
	i.add(t, "first", jose.ES256)
	return i
}

func (i *testIssuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	answer := i.answer
	if answer == nil && strings.HasSuffix(r.URL.Path, "/tokenreviews") {
		answer = i.reviews
	}
	if answer != nil {
		i.mu.Unlock()
		defer i.mu.Lock()
		answer(w, r)
		return
	}
	if i.bearer != "" && r.Header.Get("Authorization") != "Bearer "+i.bearer {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", i.types[r.URL.Path])
	w.Header().Set("Cache-Control", i.cache)
	switch i.URL + r.URL.Path {
	case i.URL + i.path:
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": i.name, "jwks_uri": i.jwksURI})
	case i.jwksURI:
		i.asked++
		var public jose.JSONWebKeySet
		for _, key := range i.keys {
			public.Keys = append(public.Keys, key.Public())
		}
		_ = json.NewEncoder(w).Encode(public)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// set changes what the issuer does.
func (i *testIssuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

func (i *testIssuer) requests() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked
}

// add makes a key, which signs from now on.
func (i *testIssuer) add(t testing.TB, kid string, algorithm jose.SignatureAlgorithm) {
	t.Helper()
	key := jose.JSONWebKey{Key: newTestKey(t, algorithm), KeyID: kid, Algorithm: string(algorithm), Use: "sig"}
	i.set(func() { i.keys = append(i.keys, key) })
}

func newTestKey(t testing.TB, algorithm jose.SignatureAlgorithm) (key crypto.Signer) {
	t.Helper()
	var err error
	switch algorithm {
	case jose.EdDSA:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case jose.ES384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.ES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes a token with the newest key.
func (i *testIssuer) sign(t testing.TB, claims map[string]any) string {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	return signWith(t, i.keys[len(i.keys)-1], "JWT", claims)
}

func signWith(t testing.TB, key jose.JSONWebKey, typ string, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return signPayload(t, key, typ, payload)
}

func signPayload(t testing.TB, key jose.JSONWebKey, typ string, payload []byte) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if typ != "" {
		options.WithType(jose.ContentType(typ))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: jose.JSONWebKey{Key: key.Key, KeyID: key.KeyID}}, options)
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

// root is the issuer's certificate, PEM.
func (i *testIssuer) root() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw}))
}

// with is claims with some of them changed; nil removes one.
func with(claims map[string]any, changes map[string]any) map[string]any {
	changed := maps.Clone(claims)
	maps.Copy(changed, changes)
	maps.DeleteFunc(changed, func(_ string, value any) bool { return value == nil })
	return changed
}

// testTime is a clock that stands still until it is set.
type testTime struct {
	mu  sync.Mutex
	now time.Time
}

func newTestTime() *testTime { return &testTime{now: time.Unix(1_800_000_000, 0)} }

func (c *testTime) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testTime) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// testDeps are those with a clock that stands still.
func testDeps(t testing.TB, clock *testTime) Deps {
	t.Helper()
	return Deps{
		Now: clock.Now, Client: NewClient, Dir: t.TempDir(),
		Audiences: func() []string { return []string{"https://ca.corp/api/v1/sign", "https://ca.corp"} },
		Sleep: func(ctx context.Context, length time.Duration) error {
			clock.pass(length)
			return ctx.Err()
		},
	}
}

func compile(t testing.TB, spec Spec, deps Deps) *Provisioner {
	t.Helper()
	p, err := Compile("test", spec, deps)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mustRefuse wants a failure of that kind whose public message says so.
func mustRefuse(t *testing.T, p *Provisioner, token string, kind failure.Kind, says string) {
	t.Helper()
	identity, err := p.Verify(context.Background(), token)
	failed, ok := errors.AsType[*failure.Error](err)
	if !ok || failed.Kind != kind || !strings.Contains(failed.Public, says) {
		t.Errorf("the token gave %+v, %v; want %v that says %q", identity, err, kind, says)
	}
	if kind == failure.Unavailable && (failed == nil || failed.RetryAfter <= 0) {
		t.Errorf("%v doesn't say when to ask again", err)
	}
}

// listen gives a server an address that has just been free.
func listen(t *testing.T, server *httptest.Server, address string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = server.Listener.Close()
	server.Listener = listener
}
