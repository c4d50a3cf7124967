package provisioner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/keys"
)

// The bounds of what is fetched.
const (
	fetchTimeout = 5 * time.Second // for one attempt, over all documents it needs
	fetchPause   = 5 * time.Second // after an attempt that has failed
	newsPause    = time.Second     // after one that has not, for tokens with unknown keys
	fetchLargest = 1 << 20         // octets in a document
	maxKeys      = 200             // in a set
	shortestAge  = time.Minute     // that keys are taken for fresh
	longestAge   = time.Hour       // the same, also when the server says nothing
	longestStale = 24 * time.Hour  // that they serve while no newer ones can be had
)

// keySet is where the keys are that sign tokens.
type keySet interface {
	// verify returns what was signed. Its error is a failure of kind
	// Unauthorized, or Unavailable while the keys can't be had.
	verify(ctx context.Context, jws *jose.JSONWebSignature) ([]byte, error)
}

// knownKeys are keys at hand. Of says whose they are, for messages: "the keys
// of https://login.corp".
type knownKeys struct {
	keys []jose.JSONWebKey
	of   string
}

// verify tries the keys that the token's kid names, and those without a name;
// all of them when the token names none (OpenID Connect Core §10.1). A key
// serves only the algorithm that it is for.
func (k knownKeys) verify(_ context.Context, jws *jose.JSONWebSignature) ([]byte, error) {
	header := jws.Signatures[0].Protected
	tried := false
	for _, key := range k.keys {
		named := header.KeyID == "" || key.KeyID == "" || key.KeyID == header.KeyID
		if !named || key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		tried = true
		if payload, err := jws.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	if !tried {
		return nil, unauthorized("the token is signed with the key %.100q by %s, which is none of %s", header.KeyID, header.Algorithm, k.of)
	}
	return nil, unauthorized("the token's signature, %s with the key %.100q, is not by any of %s", header.Algorithm, header.KeyID, k.of)
}

// parseKeySet reads a JWK set (RFC 7517 §5). Keys for other purposes, and those
// that can't be read or are too weak, are left out; it is an error when no key
// remains.
func parseKeySet(data []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("couldn't read the JWK set: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("the JWK set has %d keys; at most %d are taken", len(set.Keys), maxKeys)
	}
	var usable []jose.JSONWebKey
	var errs []error
	for i, text := range set.Keys {
		key, err := parseKey(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("key %d: %w", i+1, err))
			continue
		}
		usable = append(usable, key)
	}
	if len(usable) == 0 {
		return nil, fmt.Errorf("the JWK set has no key that can verify signatures: %w", errors.Join(errs...))
	}
	return usable, nil
}

// parseKey reads a JWK for signatures: RSA, EC on a NIST curve, or Ed25519. It
// looks at the public members only; certificates that come along with a key
// prove nothing here.
func parseKey(text []byte) (jose.JSONWebKey, error) {
	var public struct {
		Kty string `json:"kty"`
		Kid string `json:"kid,omitempty"`
		Alg string `json:"alg,omitempty"`
		Use string `json:"use,omitempty"`
		Crv string `json:"crv,omitempty"`
		X   string `json:"x,omitempty"`
		Y   string `json:"y,omitempty"`
		N   string `json:"n,omitempty"`
		E   string `json:"e,omitempty"`
	}
	var key jose.JSONWebKey
	if err := json.Unmarshal(text, &public); err != nil {
		return key, fmt.Errorf("couldn't read the JWK: %w", err)
	}
	if public.Use != "" && public.Use != "sig" {
		return key, fmt.Errorf("its use is %.20q", public.Use)
	}
	if public.Alg != "" && !slices.Contains(algorithms(), jose.SignatureAlgorithm(public.Alg)) {
		return key, fmt.Errorf("it is for %.20q", public.Alg)
	}
	if public.Kty == "oct" {
		return key, errors.New("it is a shared secret")
	}
	again, err := json.Marshal(public)
	if err != nil {
		return key, fmt.Errorf("couldn't read the JWK: %w", err)
	}
	if err := json.Unmarshal(again, &key); err != nil {
		return key, fmt.Errorf("couldn't read the JWK: %w", err)
	}
	return key, keys.Check(key.Key)
}

// remoteKeys are keys that a server publishes. They are fetched when they are
// first needed; again when they have grown old; and when they don't verify a
// token, for the server may have new ones, but not more often than newsPause:
// the token waits for it. While the server is down, the old ones serve for a
// day.
type remoteKeys struct {
	of    string
	fetch func(context.Context) ([]jose.JSONWebKey, time.Duration, error) // with how long they are fresh
	now   func() time.Time
	sleep func(context.Context, time.Duration) error

	known   atomic.Pointer[fetchedKeys]
	begun   atomic.Int64  // attempts; changed by who has the turn
	turn    chan struct{} // full while an attempt is made; who fills it owns the fields below
	tried   time.Time
	lastErr error // of the last attempt
}

type fetchedKeys struct {
	knownKeys
	at, until time.Time
}

// newRemoteKeys are those at a URL, as a JWK set. Authorize, if not nil, adds
// to each request what the server wants to see.
func newRemoteKeys(client *http.Client, address string, authorize func(*http.Request) error, deps Deps) *remoteKeys {
	source := jsonSource{client, authorize}
	return newFetchedKeys("the keys at "+address, deps, func(ctx context.Context) ([]jose.JSONWebKey, time.Duration, error) {
		return source.keys(ctx, address, parseKeySet)
	})
}

func newFetchedKeys(of string, deps Deps, fetch func(context.Context) ([]jose.JSONWebKey, time.Duration, error)) *remoteKeys {
	r := &remoteKeys{of: of, fetch: fetch, now: deps.Now, sleep: deps.Sleep, turn: make(chan struct{}, 1)}
	if r.sleep == nil {
		r.sleep = sleep
	}
	return r
}

// sleep waits; it returns an error when ctx ends before.
func sleep(ctx context.Context, length time.Duration) error {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (r *remoteKeys) verify(ctx context.Context, jws *jose.JSONWebSignature) ([]byte, error) {
	before := r.begun.Load()
	known, err := r.get(ctx)
	if err != nil {
		return nil, err
	}
	payload, err := known.verify(ctx, jws)
	if err == nil {
		return payload, nil
	}
	newer, newErr := r.newer(ctx, known, before)
	switch {
	case newErr != nil:
		return nil, newErr
	case newer == known:
		return nil, err
	}
	return newer.verify(ctx, jws)
}

// get returns the keys, fresh ones if possible.
func (r *remoteKeys) get(ctx context.Context) (*fetchedKeys, error) {
	known := r.known.Load()
	if known != nil && r.now().Before(known.until) {
		return known, nil
	}
	select {
	case r.turn <- struct{}{}:
	default:
		if known != nil && r.serves(known) {
			return known, nil // somebody else sees whether there are newer ones
		}
		select {
		case r.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, r.unavailable(ctx.Err())
		}
	}
	defer func() { <-r.turn }()
	known = r.known.Load()
	if (known == nil || !r.now().Before(known.until)) && !r.rests() {
		r.attempt(ctx)
		known = r.known.Load()
	}
	if known == nil || r.lastErr != nil && !r.serves(known) {
		return nil, r.unavailable(r.lastErr)
	}
	return known, nil
}

// newer returns newer keys than those that are lacking, or these when there has
// been an attempt since that of the given number, which brought no others. Who
// waits here shares the next attempt with all others.
func (r *remoteKeys) newer(ctx context.Context, lacking *fetchedKeys, before int64) (*fetchedKeys, error) {
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, r.unavailable(ctx.Err())
	}
	defer func() { <-r.turn }()
	if known := r.known.Load(); known != lacking || r.begun.Load() != before && r.lastErr == nil {
		return known, nil
	}
	if r.rests() {
		return nil, r.unavailable(r.lastErr)
	}
	if early := newsPause - r.now().Sub(r.tried); early > 0 {
		if err := r.sleep(ctx, early); err != nil {
			return nil, r.unavailable(err)
		}
	}
	if r.attempt(ctx); r.lastErr != nil {
		return nil, r.unavailable(r.lastErr)
	}
	return r.known.Load(), nil
}

// serves reports whether keys are young enough to be used while no newer ones
// can be had.
func (r *remoteKeys) serves(known *fetchedKeys) bool { return r.now().Sub(known.at) < longestStale }

// rests reports whether an attempt has failed just now.
func (r *remoteKeys) rests() bool { return r.lastErr != nil && r.now().Sub(r.tried) < fetchPause }

// attempt fetches the keys. It goes on when its requester has gone, for others
// need the keys, too.
func (r *remoteKeys) attempt(ctx context.Context) {
	r.begun.Add(1)
	now := r.now()
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	found, age, err := r.fetch(within)
	r.tried, r.lastErr = r.now(), err
	if err == nil {
		r.known.Store(&fetchedKeys{knownKeys{found, r.of}, now, now.Add(age)})
	}
}

func (r *remoteKeys) unavailable(err error) error {
	return unavailable(fetchPause, "%s can't be fetched just now, so the token can't be checked; ask again later", r.of).Because(err)
}

// jsonSource fetches JSON documents.
type jsonSource struct {
	client    *http.Client
	authorize func(*http.Request) error
}

// keys fetches a JWK set, and how long it may be kept.
func (s jsonSource) keys(ctx context.Context, address string, parse func([]byte) ([]jose.JSONWebKey, error)) ([]jose.JSONWebKey, time.Duration, error) {
	data, age, err := s.get(ctx, address)
	if err != nil {
		return nil, 0, err
	}
	found, err := parse(data)
	return found, age, err
}

// get fetches a document, which the server must give at this very URL: clients
// from Deps follow no redirection.
func (s jsonSource) get(ctx context.Context, address string) ([]byte, time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("couldn't fetch %s: %w", address, err)
	}
	request.Header.Set("Accept", "application/json, application/jwk-set+json")
	got, err := s.do(request)
	if err != nil {
		return nil, 0, err
	}
	if got.status != http.StatusOK {
		return nil, 0, fmt.Errorf("couldn't fetch %s: it answered %d", address, got.status)
	}
	return got.body, freshFor(got.cacheControl), nil
}

// answer is a server's answer, with whatever status.
type answer struct {
	status       int
	cacheControl string
	body         []byte
}

// do sends a request and reads its answer.
func (s jsonSource) do(request *http.Request) (*answer, error) {
	fail := func(err error) (*answer, error) {
		return nil, fmt.Errorf("couldn't fetch %s: %w", request.URL, err)
	}
	if s.authorize != nil {
		if err := s.authorize(request); err != nil {
			return fail(err)
		}
	}
	response, err := s.client.Do(request) //nolint:gosec // to where the operator says, or the issuer they trust
	if err != nil {
		return fail(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, fetchLargest+1))
	if err == nil && len(body) > fetchLargest {
		err = fmt.Errorf("it answered with more than %d octets", fetchLargest)
	}
	if err != nil {
		return fail(err)
	}
	return &answer{response.StatusCode, response.Header.Get("Cache-Control"), body}, nil
}

// freshFor is how long an answer may be kept (RFC 9111 §5.2.2), within bounds.
func freshFor(cacheControl string) time.Duration {
	age := longestAge
	for directive := range strings.SplitSeq(strings.ToLower(cacheControl), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch seconds, err := strconv.Atoi(strings.Trim(value, `"`)); {
		case name == "no-cache", name == "no-store":
			return shortestAge
		case name == "max-age" && err == nil && seconds < int(longestAge/time.Second):
			age = time.Duration(seconds) * time.Second
		}
	}
	return max(age, shortestAge)
}

// isSafe reports whether a URL can be asked for keys: by HTTPS, or on the same
// machine.
func isSafe(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.User != nil {
		return false
	}
	ip, _ := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (ip.IsLoopback() || u.Hostname() == "localhost")
}
