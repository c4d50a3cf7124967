package bench_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chancery/internal/admin"
	"chancery/internal/bench"
	"chancery/internal/server/servertest"
)

// The ports at which servertest has its CA validate.
const (
	httpPort = "5002"
	tlsPort  = "5001"
	dnsPort  = "5053"
)

// load is a small load on a CA, which asks the load's own DNS server.
func load(t *testing.T, ca *servertest.CA) bench.Config {
	t.Helper()
	here := ca.Network.Host(3)
	ca.Reload("validation.resolvers=" + net.JoinHostPort(here, dnsPort))
	roots := x509.NewCertPool()
	roots.AddCert(ca.Root)
	return bench.Config{
		Server: ca.BaseURL, Roots: roots, UserAgent: "test", Now: time.Now, Rand: rand.Reader,
		Clients: 4, Accounts: 2, Names: 1, Count: 12, Timeout: time.Minute, Challenge: bench.HTTP01, Domain: "bench.test",
		HTTP: net.JoinHostPort(here, httpPort), TLS: net.JoinHostPort(here, tlsPort), DNS: net.JoinHostPort(here, dnsPort),
	}
}

func run(t *testing.T, c bench.Config) *bench.Result {
	t.Helper()
	r, err := bench.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantAll wants count certificates and nothing else.
func wantAll(t *testing.T, r *bench.Result, count int) {
	t.Helper()
	if r.Issued != count || r.Failed != 0 || len(r.Failures) != 0 || r.Interrupted {
		t.Fatalf("got %+v, want %d issued", r, count)
	}
	if r.P50 <= 0 || r.P50 > r.P90 || r.P90 > r.P99 || r.P99 > r.Max || r.Elapsed < r.Max/2 || r.Client <= 0 {
		t.Errorf("the times don't fit together: %+v", r)
	}
}

func TestIssue(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t)
	base := load(t, ca)
	for name, change := range map[string]func(*bench.Config){
		"http-01":       func(*bench.Config) {},
		"dns-01":        func(c *bench.Config) { c.Challenge = bench.DNS01 },
		"tls-alpn-01":   func(c *bench.Config) { c.Challenge = bench.TLSALPN01 },
		"several names": func(c *bench.Config) { c.Names = 5 },
		"directory URL": func(c *bench.Config) { c.Server = ca.DirectoryURL },
		"more accounts": func(c *bench.Config) { c.Accounts = 7 },
		"address":       func(c *bench.Config) { c.Domain, c.DNS = ca.Network.Host(3), "" },
		"address, by tls-alpn-01": func(c *bench.Config) {
			c.Domain, c.Challenge, c.Clients = ca.Network.Host(3)+"/32", bench.TLSALPN01, 1
		},
		"profile":    func(c *bench.Config) { c.Profile = "shortlived" },
		"at a rate":  func(c *bench.Config) { c.Rate = 200 },
		"for a time": func(c *bench.Config) { c.For = time.Hour },
	} {
		t.Run(name, func(t *testing.T) { // one after the other: they listen at the same address
			c := base
			change(&c)
			wantAll(t, run(t, c), c.Count)
		})
	}
}

func TestForEndsTheLoad(t *testing.T) {
	t.Parallel()
	c := load(t, servertest.Start(t))
	c.Count, c.For = 0, 300*time.Millisecond
	r := run(t, c)
	wantAll(t, r, r.Issued)
	if r.Issued == 0 || r.Late != 0 {
		t.Errorf("got %+v", r)
	}
}

// TestNothingIsOmitted puts one client under a rate that it can't keep up
// with: its orders wait, and what they wait is measured.
func TestNothingIsOmitted(t *testing.T) {
	t.Parallel()
	c := load(t, servertest.Start(t))
	c.Clients, c.Accounts, c.Count, c.Rate = 1, 1, 20, 5000
	r := run(t, c)
	wantAll(t, r, c.Count)
	if r.Max < r.Elapsed*9/10 { // the last was to begin after 4 ms
		t.Errorf("the last order waited for all others, and took %s of %s", r.Max, r.Elapsed)
	}
	c.Count, c.For = 0, 100*time.Millisecond
	if r = run(t, c); r.Late == 0 || r.Late+r.Issued != 500 {
		t.Errorf("%d issued, %d late; want 500 together", r.Issued, r.Late)
	}
}

func TestRateIsKept(t *testing.T) {
	t.Parallel()
	c := load(t, servertest.Start(t))
	c.Rate, c.Count = 20, 11
	r := run(t, c)
	wantAll(t, r, c.Count)
	if r.Elapsed < 500*time.Millisecond || r.Late != 0 {
		t.Errorf("11 orders at 20 a second took %s, %d late", r.Elapsed, r.Late)
	}
}

// TestRefusals has a policy that allows half of the addresses.
func TestRefusals(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	ca := servertest.Start(t, "validation.http_port="+port, "policy.rules=[{name: half, deny: [127.30.0.8/29]}]")
	c := load(t, ca)
	c.Domain, c.HTTP, c.DNS, c.Count = "127.30.0.0/28", ":"+port, "", 14 // each address once
	r := run(t, c)
	refused := r.Failures["rejectedIdentifier"]
	if r.Issued != 7 || r.Failed != 7 || refused.Count != 7 || !strings.Contains(refused.Example, "half") {
		t.Errorf("got %+v", r)
	}
}

func freePort(t *testing.T) string {
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

func TestFailedValidations(t *testing.T) {
	t.Parallel()
	c := load(t, servertest.Start(t, "validation.http_port="+freePort(t), "validation.attempts=1"))
	c.Count = 3
	r := run(t, c)
	if r.Issued != 0 || r.Failed != 3 || r.Failures["connection"].Count != 3 {
		t.Errorf("got %+v", r)
	}
}

func TestDeadServer(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t)
	c := load(t, ca)
	begun := make(chan struct{})
	c.Count, c.For, c.Report = 0, 2*time.Second, reportOnce(begun)
	done := make(chan *bench.Result)
	go func() {
		r, err := bench.Run(t.Context(), c)
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	<-begun
	ca.Stop()
	if r := <-done; r == nil || r.Issued == 0 || r.Failures["network refused"].Count == 0 || r.Interrupted {
		t.Errorf("got %+v", r)
	}
	if _, err := bench.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "couldn't read the directory") {
		t.Errorf("a server that is not there: %v", err)
	}
}

// reportOnce closes a channel when certificates have been issued.
func reportOnce(begun chan<- struct{}) func(bench.Snapshot) {
	told := false
	return func(s bench.Snapshot) {
		if s.Issued > 0 && !told {
			told = true
			close(begun)
		}
	}
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	c := load(t, servertest.Start(t))
	ctx, interrupt := context.WithCancel(t.Context())
	begun := make(chan struct{})
	c.Count, c.For, c.Report = 0, time.Hour, reportOnce(begun)
	go func() {
		<-begun
		interrupt()
	}()
	r, err := bench.Run(ctx, c)
	if err != nil || !r.Interrupted || r.Issued == 0 || r.Failed != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestServerUsage(t *testing.T) {
	t.Parallel()
	c := load(t, servertest.Start(t))
	c.PID, c.Count = os.Getpid(), 60
	r := run(t, c)
	wantAll(t, r, c.Count)
	if r.Server == nil || r.Server.CPU <= 0 || r.Server.Peak < 10<<20 {
		t.Errorf("this process, with the server in it, has used %+v", r.Server)
	}
	c.PID = 1 << 30
	if _, err := bench.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "no process") {
		t.Errorf("a process that is not there: %v", err)
	}
}

func TestExternalAccountBinding(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t, "acme.eab_required=true")
	c := load(t, ca)
	if _, err := bench.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "externalAccountRequired") {
		t.Errorf("without a binding: %v", err)
	}
	operator := admin.Dial(filepath.Join(ca.Dir, "admin.sock"))
	defer operator.Close()
	made, err := operator.CreateBinding(t.Context(), admin.NewBinding{})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := base64.RawURLEncoding.DecodeString(made.HMAC)
	if err != nil {
		t.Fatal(err)
	}
	c.EAB = bench.EAB{KeyID: made.KID, Key: secret}
	wantAll(t, run(t, c), c.Count)
}

func TestCheck(t *testing.T) {
	t.Parallel()
	good := bench.Config{
		Server: "https://ca.test", Clients: 1, Accounts: 1, Names: 1, Count: 1, Timeout: time.Minute, Challenge: bench.HTTP01, Domain: "bench.test",
	}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*bench.Config){
		"server is missing": func(c *bench.Config) { c.Server = "" },
		"1 or more":         func(c *bench.Config) { c.Clients = 0 },
		"negative":          func(c *bench.Config) { c.Rate = -1 },
		"no end":            func(c *bench.Config) { c.Count = 0 },
		"timeout":           func(c *bench.Config) { c.Timeout = 0 },
		"key identifier":    func(c *bench.Config) { c.EAB.KeyID = "x" },
		"no domain":         func(c *bench.Config) { c.Domain = "*.test" },
		"challenge type":    func(c *bench.Config) { c.Challenge = "dns-02" },
		"DNS server":        func(c *bench.Config) { c.Challenge = bench.DNS01 },
		"too few":           func(c *bench.Config) { c.Challenge, c.Domain, c.Clients = bench.TLSALPN01, "10.0.0.0/30", 3 },
		"by dns-01":         func(c *bench.Config) { c.Challenge, c.DNS, c.Domain = bench.DNS01, ":53", "10.0.0.0/8" },
	} {
		bad := good
		change(&bad)
		if err := bad.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want something with %q", err, want)
		}
	}
	for _, server := range []string{"ftp://ca.test", "ca.test:9443", "https://ca .test"} {
		bad := good
		bad.Server, bad.HTTP, bad.Now, bad.Rand = server, "127.0.0.1:0", time.Now, rand.Reader
		if _, err := bench.Run(t.Context(), bad); err == nil || !strings.Contains(fmt.Sprint(err), "URL") {
			t.Errorf("%s: %v", server, err)
		}
	}
}
