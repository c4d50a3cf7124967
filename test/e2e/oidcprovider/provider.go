// Package oidcprovider runs a certified OpenID provider's engine with users, a
// login page and keys in memory, for tests with real clients and browsers. It
// serves authorization codes with PKCE and device codes to one public client,
// and can rotate its keys, be stopped, and be started again.
package oidcprovider

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// ClientID is the name of the client that may ask.
const ClientID = "chancery"

// User is somebody who can log in.
type User struct {
	Name, Password string
	Email          string
	Verified       bool
	Groups         []string
}

// Provider is a provider that runs.
type Provider struct {
	Issuer string

	address string
	users   map[string]User
	server  *http.Server
	serving sync.WaitGroup

	mu       sync.Mutex
	keys     []*signingKey // the last one signs
	requests map[string]*authRequest
	codes    map[string]string // ids of requests, by code
	devices  map[string]*device
	stalled  chan struct{} // closed to let requests go on; nil while they do
}

// Start runs a provider on a free port of host until the test ends.
func Start(t testing.TB, host string, users ...User) *Provider {
	t.Helper()
	p := &Provider{
		address: net.JoinHostPort(host, "0"), users: map[string]User{},
		requests: map[string]*authRequest{}, codes: map[string]string{}, devices: map[string]*device{},
	}
	for _, user := range users {
		p.users[user.Name] = user
	}
	p.Rotate(t)
	p.Run(t)
	t.Cleanup(p.Stop)
	return p
}

// Run starts a provider that was stopped, at the same address.
func (p *Provider) Run(t testing.TB) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	p.address = listener.Addr().String()
	p.Issuer = "http://" + p.address
	handler, err := p.handler()
	if err != nil {
		t.Fatal(err)
	}
	p.server = &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	server := p.server
	p.serving.Go(func() { _ = server.Serve(listener) }) // it ends when it is closed
}

// Stop ends the provider and all its connections. It may be called again.
func (p *Provider) Stop() {
	if p.server == nil {
		return
	}
	p.Stall(false)
	_ = p.server.Close()
	p.serving.Wait()
	p.server = nil
}

// Stall makes the provider accept requests and not answer them, until it is
// told to go on.
func (p *Provider) Stall(stall bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case stall && p.stalled == nil:
		p.stalled = make(chan struct{})
	case !stall && p.stalled != nil:
		close(p.stalled)
		p.stalled = nil
	}
}

// Rotate makes a new key that signs from now on, of RSA and EC in turn. The
// one before stays published; older ones go.
func (p *Provider) Rotate(t testing.TB) {
	t.Helper()
	key := &signingKey{id: randomID(), algorithm: jose.RS256}
	var err error
	if len(p.keys)%2 == 0 {
		key.private, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key.algorithm = jose.ES256
		key.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = append(p.keys[max(0, len(p.keys)-1):], key)
}

func (p *Provider) handler() (http.Handler, error) {
	var secret [32]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, fmt.Errorf("couldn't read random octets: %w", err)
	}
	provider, err := op.NewProvider(&op.Config{
		CryptoKey: secret, CryptoKeyId: "tokens", CodeMethodS256: true,
		DeviceAuthorization: op.DeviceAuthorizationConfig{
			Lifetime: time.Minute, PollInterval: time.Second, UserFormPath: "/activate", UserCode: op.UserCodeBase20,
		},
	}, &storage{p}, op.StaticIssuer(p.Issuer), op.WithAllowInsecure())
	if err != nil {
		return nil, fmt.Errorf("couldn't make the provider: %w", err)
	}
	mux := http.NewServeMux()
	p.addPages(mux, op.AuthCallbackURL(provider), op.NewIssuerInterceptor(provider.IssuerFromRequest))
	mux.Handle("/", provider)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		stalled := p.stalled
		p.mu.Unlock()
		if stalled != nil {
			select {
			case <-stalled:
			case <-r.Context().Done():
			}
		}
		mux.ServeHTTP(w, r)
	}), nil
}

func randomID() string {
	id := make([]byte, 12)
	_, _ = rand.Read(id) // does not fail
	return hex.EncodeToString(id)
}
