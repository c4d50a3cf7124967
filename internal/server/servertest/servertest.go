// Package servertest runs a whole certificate authority inside a test: the
// server over real sockets, a DNS server it asks, and hosts it validates, all
// on loopback addresses that no other test has. What is served is what
// `chancery serve` would serve; nothing is replaced. It is no way to run a CA.
package servertest

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
	"chancery/internal/config"
	"chancery/internal/hierarchy"
	"chancery/internal/server"
	"chancery/internal/store/sqlite"
	"chancery/internal/validation/dnstest"
)

// CA is a running certificate authority. Its methods are for the test's
// goroutine unless they say otherwise.
type CA struct {
	Dir          string
	BaseURL      string            // scheme, host and port
	DirectoryURL string            // of ACME
	Root         *x509.Certificate // what HTTP trusts
	HTTP         *http.Client
	DNS          *dnstest.Server // the CA's only resolver; *.example.test leads to Web
	Web          *Host           // answers challenges
	Network      Network

	t       testing.TB
	address string // where it listens: a host of the network
	public  string // the URL that clients are given; "" for BaseURL
	set     []string
	log     *output
	server  *server.Server
	stop    context.CancelFunc
	served  chan error // what Serve returned
	opening sync.Once
	store   *sqlite.Store // opened by Store
}

// Start makes a CA in a new directory and serves it until the test ends. The
// settings are as --set takes them, and win over those of this package, by
// which a failed attempt is repeated after 100 ms.
func Start(t testing.TB, set ...string) *CA {
	t.Helper()
	files, err := template()
	if err != nil {
		t.Fatal(err)
	}
	return start(t, files, set)
}

// StartConstrained is Start for a CA with name constraints, which must permit
// 127.0.0.0/8 for the server itself.
func StartConstrained(t testing.TB, permit []string, set ...string) *CA {
	t.Helper()
	files, err := makeAuthority(permit)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, files, set)
}

func start(t testing.TB, files map[string][]byte, set []string) *CA {
	t.Helper()
	c := &CA{t: t, Dir: t.TempDir(), Network: reserve(t), log: new(output), set: set}
	c.address = c.Network.Host(1)
	t.Cleanup(c.showLog)
	c.DNS = startDNS(t, c.Network.Host(1))
	c.Web = NewHost(t, c.Network.Host(2))
	c.DNS.SetA("*.example.test", c.Web.Address)
	c.install(files)
	c.begin()
	return c
}

// begin serves until the test ends.
func (c *CA) begin() {
	c.serve()
	c.t.Cleanup(func() {
		c.HTTP.CloseIdleConnections()
		c.Stop()
		if c.store != nil {
			c.check(c.store.Close())
		}
	})
}

// RootPassphrase opens the root's key.
const RootPassphrase = "test"

// template is a CA made once for all tests of the process: sealing a root's
// key is slow on purpose.
var template = sync.OnceValues(func() (map[string][]byte, error) { return makeAuthority(nil) })

// makeAuthority makes the files of a CA.
func makeAuthority(permit []string) (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "servertest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if _, err := hierarchy.Create(hierarchy.Options{Dir: dir, Permit: permit, Passphrase: []byte(RootPassphrase)}); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, name := range []string{hierarchy.RootFile, hierarchy.RootKeyFile, hierarchy.RootListFile, hierarchy.IntermediateFile, hierarchy.KeyFile} {
		if files[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// install writes the CA into its directory and makes the client that trusts it.
func (c *CA) install(files map[string][]byte) {
	c.t.Helper()
	for name, content := range files {
		c.check(os.WriteFile(filepath.Join(c.Dir, name), content, 0o600))
	}
	loaded, err := hierarchy.Load(c.Dir)
	c.check(err)
	c.Root = loaded.Root
	roots := x509.NewCertPool()
	roots.AddCert(c.Root)
	c.HTTP = &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 100},
		Timeout:   time.Minute,
	}
}

// Proxied is a client whose requests reach the CA whatever host is in their
// URL, as through a proxy that speaks for it.
func (c *CA) Proxied() *http.Client {
	transport := c.HTTP.Transport.(*http.Transport).Clone()
	address := c.address + ":9443"
	transport.DialTLSContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&tls.Dialer{Config: &tls.Config{
			RootCAs: transport.TLSClientConfig.RootCAs, ServerName: c.address,
		}}).DialContext(ctx, network, address)
	}
	c.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// settings are what the CA is served with, as --set takes them.
func (c *CA) settings() []string {
	return append([]string{
		"listen=" + c.address + ":9443",
		"http_listen=",
		fmt.Sprintf("validation.http_port=%d", httpPort),
		fmt.Sprintf("validation.tls_port=%d", tlsPort),
		"validation.resolvers=" + c.DNS.Addr(),
		"validation.allow=127.0.0.0/8",
		"validation.retry_interval=100ms",
	}, c.set...)
}

// load reads the configuration as it is now.
func (c *CA) load() (*config.Config, error) {
	return config.Load(config.LoadOptions{Dir: c.Dir, Set: c.settings()})
}

func (c *CA) serve() {
	c.t.Helper()
	settings, err := c.load()
	c.check(err)
	log := slog.New(slog.NewTextHandler(c.log, nil))
	c.server, err = server.Open(context.Background(), server.Options{
		Config: settings, Load: c.load, Log: log, Audit: log, Version: "test",
	})
	c.check(err)
	c.BaseURL = "https://" + c.address + ":9443"
	c.DirectoryURL = cmp.Or(c.public, c.BaseURL) + "/acme/directory"
	ctx, cancel := context.WithCancel(context.Background())
	c.stop, c.served = cancel, make(chan error, 1)
	go func() { c.served <- c.server.Serve(ctx) }() // Stop waits for it
}

// Stop ends the server as SIGTERM would, and waits until it has ended well. A
// CA that is stopped already stays so.
func (c *CA) Stop() {
	c.t.Helper()
	if c.stop == nil {
		return
	}
	c.stop()
	c.stop = nil
	if err := <-c.served; err != nil {
		c.t.Errorf("the server did not end well: %v", err)
	}
}

// Restart stops the server, if it runs, and serves the same directory again,
// with further settings.
func (c *CA) Restart(set ...string) {
	c.t.Helper()
	c.HTTP.CloseIdleConnections()
	c.Stop()
	c.set = append(c.set, set...)
	c.serve()
}

// Reload has the running server read its configuration again, with further
// settings.
func (c *CA) Reload(set ...string) {
	c.t.Helper()
	c.set = append(c.set, set...)
	_, err := c.server.Reload(context.Background())
	c.check(err)
}

// WriteConfig writes chancery.yaml, for settings that are no plain values.
func (c *CA) WriteConfig(yaml string) {
	c.t.Helper()
	c.check(os.WriteFile(filepath.Join(c.Dir, config.FileName), []byte(yaml), 0o600))
}

// Store is the CA's store, over connections beside the server's: for looking,
// also while the server is stopped, and for steps no door offers.
func (c *CA) Store() *sqlite.Store {
	c.opening.Do(func() {
		opened, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(c.Dir, "chancery.db")})
		c.check(err)
		c.store = opened
	})
	return c.store
}

// NewClient returns an ACME client with a fresh key and no account.
func (c *CA) NewClient() *acmetest.Client {
	c.t.Helper()
	client, err := acmetest.NewClient(c.t.Context(), c.HTTP, c.DirectoryURL)
	c.check(err)
	return client
}

// Client returns an ACME client with a new account.
func (c *CA) Client() *acmetest.Client {
	c.t.Helper()
	client := c.NewClient()
	_, err := client.Register(c.t.Context(), nil)
	c.check(err)
	return client
}

func (c *CA) check(err error) {
	if err != nil {
		c.t.Helper()
		c.t.Fatal(err)
	}
}

// shownLog is how much of a failed test's log is shown, in bytes.
const shownLog = 32 << 10

func (c *CA) showLog() {
	if c.t.Failed() {
		c.t.Logf("the server wrote:\n%s", c.log.tail(shownLog))
	}
}

// output collects what the server logs.
type output struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.text) > 4*shownLog {
		o.text = slices.Delete(o.text, 0, len(o.text)-shownLog)
	}
	o.text = append(o.text, p...)
	return len(p), nil
}

func (o *output) tail(length int) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.text[max(0, len(o.text)-length):])
}
