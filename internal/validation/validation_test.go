package validation

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/validation/dnstest"
)

const (
	token      = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
	thumbprint = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" // RFC 7638 §3.1
	keyAuth    = token + "." + thumbprint
	accountURL = "https://ca.example/acct/123"
)

// world is a validator and the DNS it sees. Loopback is allowed.
type world struct {
	*testing.T
	dns    *dnstest.Server
	config Config
}

func newWorld(t *testing.T) *world {
	server := dnstest.New(t)
	return &world{t, server, Config{
		Resolvers: []string{server.Addr()},
		Allow:     prefixes("127.0.0.0/8", "::1/128"),
		Timeout:   5 * time.Second,
	}}
}

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func dnsName(name string) identifier.Identifier {
	return identifier.Identifier{Type: identifier.DNS, Value: name}
}

func ip(addr string) identifier.Identifier {
	return identifier.Identifier{Type: identifier.IP, Value: addr}
}

func request(method Method, id identifier.Identifier) Request {
	return Request{Method: method, Identifier: id.Base(), Wildcard: id.IsWildcard(),
		Token: token, Thumbprint: thumbprint, AccountURL: accountURL}
}

func (w *world) validator() *Validator {
	w.Helper()
	v, err := New(w.config)
	if err != nil {
		w.Fatal(err)
	}
	return v
}

func (w *world) validate(method Method, id identifier.Identifier) Result {
	w.Helper()
	result := w.validator().Validate(context.Background(), request(method, id))
	checkTranscript(w.T, result.Transcript)
	return result
}

// checkTranscript holds what must be true of every transcript.
func checkTranscript(t testing.TB, transcript Transcript) {
	t.Helper()
	if len(transcript.Steps) > maxSteps || transcript.Outcome == "" || transcript.String() == "" {
		t.Errorf("transcript with %d steps and outcome %q", len(transcript.Steps), transcript.Outcome)
	}
	if raw, err := json.Marshal(transcript); err != nil || len(raw) > 200_000 {
		t.Errorf("transcript of %d bytes: %v", len(raw), err)
	}
}

// proven wants success.
func proven(t *testing.T, result Result) {
	t.Helper()
	if result.Err != nil {
		t.Fatalf("not proven: %v\n%s", result.Err, result.Transcript)
	}
}

// refused wants a failure of the given kind whose public text says all of says.
func refused(t *testing.T, result Result, kind failure.Kind, says ...string) {
	t.Helper()
	if result.Err == nil {
		t.Fatalf("proven; want a failure that says %q\n%s", says, result.Transcript)
	}
	if result.Err.Kind != kind {
		t.Errorf("kind %d, want %d: %v", result.Err.Kind, kind, result.Err)
	}
	for _, text := range says {
		if !strings.Contains(result.Err.Public, text) {
			t.Errorf("%q does not say %q", result.Err.Public, text)
		}
	}
	if result.Transcript.Summary() != result.Err.Public {
		t.Errorf("summary %q, error %q", result.Transcript.Summary(), result.Err.Public)
	}
}

func listen(t testing.TB, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func portOf(addr net.Addr) int { return addr.(*net.TCPAddr).Port }

// serveRaw answers each connection with what handle does to it.
func serveRaw(t testing.TB, l net.Listener, handle func(net.Conn)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn)
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
}

// silence reads and never answers.
func silence(conn net.Conn) {
	buffer := make([]byte, 1024)
	for {
		if _, err := conn.Read(buffer); err != nil {
			return
		}
	}
}

// blackHole listens at addr with a queue that is full, so that the kernel
// drops every further SYN.
func blackHole(t *testing.T, addr netip.AddrPort) netip.AddrPort {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	target := netip.AddrPortFrom(addr.Addr(), uint16(bound.(*syscall.SockaddrInet4).Port))
	for range 10 {
		conn, err := net.DialTimeout("tcp", target.String(), 50*time.Millisecond)
		if err != nil {
			return target
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the kernel takes every connection")
	return target
}

func TestProves(t *testing.T) {
	name, wild, addr := dnsName("a.b"), dnsName("*.a.b"), ip("10.0.0.1")
	for _, test := range []struct {
		method           Method
		name, wild, addr bool
	}{
		{HTTP01, true, false, true},
		{TLSALPN01, true, false, true},
		{DNS01, true, true, false},
		{DNSAccount01, true, true, false},
		{DNSPersist01, true, true, false},
		{"telepathy-01", false, false, false},
	} {
		m := test.method
		if m.Proves(name) != test.name || m.Proves(wild) != test.wild || m.Proves(addr) != test.addr {
			t.Errorf("%s: name %v, wildcard %v, address %v", m, m.Proves(name), m.Proves(wild), m.Proves(addr))
		}
	}
	w := newWorld(t)
	result := w.validate("telepathy-01", name)
	refused(t, result, failure.Malformed, "telepathy-01")
	if !result.Final {
		t.Error("a retry would not help")
	}
	refused(t, w.validate(DNS01, addr), failure.Malformed, "cannot prove", "10.0.0.1")
	refused(t, w.validate(HTTP01, wild), failure.Malformed, "cannot prove", "*.a.b")
}

func TestNewRefuses(t *testing.T) {
	for says, config := range map[string]Config{
		"no port 70000":    {HTTPPort: 70000},
		"no port -1":       {TLSPort: -1},
		"negative":         {Timeout: -time.Second},
		"no DNS server":    {Resolvers: []string{"10.0.0.1:dns"}},
		`"10.0.0.1:0"`:     {Resolvers: []string{"10.0.0.1:0"}},
		"at least one":     {ZoneResolvers: map[string][]string{"corp": nil}},
		`zone "a..b" need`: {ZoneResolvers: map[string][]string{"a..b": {"10.0.0.1"}}},
	} {
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want an error that says %q", err, says)
		}
	}
	full, err := withPorts([]string{"10.0.0.1", "10.0.0.1:5353", "::1", "[::1]:54", "dns.corp"})
	if want := []string{"10.0.0.1:53", "10.0.0.1:5353", "[::1]:53", "[::1]:54", "dns.corp:53"}; err != nil || !slices.Equal(full, want) {
		t.Errorf("%v, %v; want %v", full, err, want)
	}
}

func TestCancelled(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	w.dns.SetHook(func(dns.Question) *dns.Msg {
		cancel() // while the attempt waits for the answer
		<-ctx.Done()
		return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeServerFailure}}
	})
	result := w.validator().Validate(ctx, request(HTTP01, dnsName("a.corp")))
	refused(t, result, failure.Unavailable, "a.corp", "cut short")
}

func TestClip(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                  "plain",
		"\x1b[31mred\n":          "�[31mred�",
		"a\xffb":                 "a�b",
		strings.Repeat("x", 50):  strings.Repeat("x", 37) + "…",
		strings.Repeat("ü", 100): strings.Repeat("ü", 18) + "…",
	} {
		if got := clip(in, 40); got != want || len(got) > 40 {
			t.Errorf("clip(%q) = %q, want %q", in, got, want)
		}
	}
}
