package acmeclient

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"chancery/internal/config"
	"chancery/internal/hierarchy"
	"chancery/internal/server"
	"chancery/internal/validation/dnstest"
)

// authority is a CA that serves, for one test.
type authority struct {
	*server.Server
	t        *testing.T
	dir      string
	dns      *dnstest.Server
	httpAddr string // where it looks for http-01
	tlsAddr  string // where it looks for tls-alpn-01
	events   []Event
	mu       sync.Mutex // guards events
}

func startAuthority(t *testing.T, set ...string) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), dns: dnstest.New(t), httpAddr: freeAddress(t), tlsAddr: freeAddress(t)}
	if _, err := hierarchy.Create(hierarchy.Options{Dir: a.dir, Passphrase: []byte("p")}); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.LoadOptions{Dir: a.dir, Set: append([]string{
		"listen=127.0.0.1:0", "http_listen=", "validation.allow=127.0.0.0/8", "validation.resolvers=" + a.dns.Addr(),
		"validation.http_port=" + port(t, a.httpAddr), "validation.tls_port=" + port(t, a.tlsAddr),
		"validation.attempts=1",
	}, set...)})
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	a.Server, err = server.Open(t.Context(), server.Options{Config: c, Load: c.Reload, Log: quiet, Audit: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return a
}

// freeAddress is one that nobody listens on, with a port outside the range from
// which the system takes ports for connections.
func freeAddress(t *testing.T) string {
	t.Helper()
	for {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+mathrand.IntN(20000)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = listener.Close()
		return listener.Addr().String()
	}
}

func port(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// record is one for names below this authority, proved by http-01.
func (a *authority) record(names ...string) Record {
	for _, name := range names {
		a.dns.SetA(name, "127.0.0.1")
	}
	return Record{
		Server: a.DirectoryURL(), Root: filepath.Join(a.dir, "root.pem"), Accounts: filepath.Join(a.dir, "accounts"),
		Names: names, Method: Method{HTTP: a.httpAddr}, KeyType: "P-256",
	}
}

// keeper is one whose clock is ahead by a duration.
func (a *authority) keeper(ahead time.Duration) *Keeper {
	return &Keeper{Report: a.report, Now: func() time.Time { return time.Now().Add(ahead) }, Rand: rand.Reader}
}

func (a *authority) report(event Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, event)
}

// happened is what has been reported since it was last asked.
func (a *authority) happened() []Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	events := slices.Clone(a.events)
	a.events = nil
	return events
}

func (a *authority) client(r Record) *Client {
	a.t.Helper()
	client, err := New(Config{Server: r.Server, RootFile: r.Root, Accounts: r.Accounts, Report: a.report, Rand: rand.Reader})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(client.Close)
	return client
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// dnsSilence makes the CA wait for an answer that never comes.
var dnsSilence = dnstest.Fault{Drop: true}
