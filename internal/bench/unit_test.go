package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"chancery/internal/identifier"
)

func TestHistogram(t *testing.T) {
	t.Parallel()
	var h histogram
	if h.quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	var all []time.Duration
	for range 10_000 {
		d := time.Duration(mathrand.ExpFloat64() * float64(20*time.Millisecond))
		all = append(all, d)
		h.add(d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.9999} {
		exact := all[int(q*float64(len(all)))-1]
		if got := h.quantile(q); got < exact-time.Microsecond || got > exact+exact/100+time.Microsecond {
			t.Errorf("quantile %v is %s, exactly %s", q, got, exact)
		}
	}
	if got := h.quantile(1); got != all[len(all)-1] || got != h.max {
		t.Errorf("the longest is %s, want %s", got, all[len(all)-1])
	}
	for _, d := range []time.Duration{-time.Second, 0, 255 * time.Microsecond, 256 * time.Microsecond, 1<<32*time.Microsecond - 1, 100 * time.Hour} {
		var h histogram
		h.add(d)
		if got := h.quantile(0.5); got > max(d, 0) || d < time.Hour && got < d-d/100-time.Microsecond {
			t.Errorf("%s became %s", d, got)
		}
	}
}

func TestResultForScripts(t *testing.T) {
	t.Parallel()
	r := &Result{Snapshot: Snapshot{Elapsed: 2 * time.Second, Issued: 10, Failed: 3, P50: 1500 * time.Microsecond, P99: time.Second}}
	r.Failures = map[string]Failure{"rateLimited": {2, "x"}, "network refused": {1, "y"}}
	read := func() (got map[string]any) {
		text, err := json.Marshal(r)
		if err == nil {
			err = json.Unmarshal(text, &got)
		}
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := read()
	for _, member := range []string{"issued", "failed", "per_second", "p50_ms", "p99_ms", "cpu_ms_per_certificate", "peak_rss_mb", "errors"} {
		if _, ok := got[member]; !ok {
			t.Errorf("%s is missing", member)
		}
	}
	if got["issued"] != 10.0 || got["failed"] != 3.0 || got["per_second"] != 5.0 || got["p50_ms"] != 1.5 || got["p99_ms"] != 1000.0 {
		t.Errorf("got %v", got)
	}
	if got["cpu_ms_per_certificate"] != nil || got["peak_rss_mb"] != nil {
		t.Errorf("what was not measured is no null: %v", got)
	}
	if !maps.Equal(got["errors"].(map[string]any), map[string]any{"rateLimited": 2.0, "network refused": 1.0}) {
		t.Errorf("errors are %v", got["errors"])
	}
	r.Server = &ServerUsage{CPU: 16 * time.Millisecond, Peak: 3 << 19}
	if got = read(); got["cpu_ms_per_certificate"] != 1.6 || got["peak_rss_mb"] != 1.5 {
		t.Errorf("got %v", got)
	}
	r.Issued, r.Failures = 0, nil
	if got = read(); got["cpu_ms_per_certificate"] != nil || len(got["errors"].(map[string]any)) != 0 {
		t.Errorf("nothing issued: %v", got)
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for want, err := range map[string]error{
		"rateLimited":             &problem{Type: acmeNamespace + "rateLimited", status: 429},
		"urn:example:own":         &problem{Type: "urn:example:own", status: 400},
		"http 502":                &problem{status: 502},
		"order invalid":           &outcome{"order", "invalid"},
		"bad answer":              fmt.Errorf("couldn't read: %w", errAnswer),
		"network refused":         &url.Error{Op: "Post", Err: refused},
		"network reset":           &url.Error{Op: "Post", Err: syscall.ECONNRESET},
		"network closed":          &url.Error{Op: "Post", Err: io.EOF},
		"network dns":             &net.OpError{Err: &net.DNSError{Err: "no such host"}},
		"network tls":             x509.UnknownAuthorityError{},
		"timeout":                 os.ErrDeadlineExceeded,
		"network timeout":         &net.OpError{Err: os.NewSyscallError("connect", syscall.ETIMEDOUT)},
		"network other":           errors.New("anything"),
		"externalAccountRequired": fmt.Errorf("couldn't register: %w", &problem{Type: acmeNamespace + "externalAccountRequired"}),
	} {
		if got := kindOf(err); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		domain string
		kind   identifier.Type
		orders int // of three names, all different
	}{
		{"bench.test", identifier.DNS, 100}, {"Bench.Test.", identifier.DNS, 1}, {"10.0.0.0/24", identifier.IP, 254 / 3}, {"10.1.2.3/8", identifier.IP, 100},
		{"2001:db8::/32", identifier.IP, 100}, {"fd00::/126", identifier.IP, 1}, {"a b", "", 0}, {"*.x.test", "", 0}, {"", "", 0},
	} {
		n, err := newNamer(test.domain, 3, mathrand.Uint64()>>24)
		if test.kind == "" {
			if err == nil {
				t.Errorf("%q is accepted", test.domain)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		seen := map[identifier.Identifier]bool{}
		for order := range test.orders {
			for _, id := range n.of(order) {
				if parsed, err := identifier.Parse(test.kind, id.Value); err != nil || parsed != id || seen[id] {
					t.Errorf("%s: %v is not normal or not new: %v", test.domain, id, err)
				}
				if n.network.IsValid() && !n.network.Contains(id.Addr()) {
					t.Errorf("%s is not in %s", id, test.domain)
				}
				seen[id] = true
			}
		}
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, err := newRequester(rand.Reader, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := r.request([]identifier.Identifier{
		{Type: identifier.DNS, Value: "a.test"}, {Type: identifier.IP, Value: "10.0.0.1"}, {Type: identifier.IP, Value: "2001:db8::1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil || csr.CheckSignature() != nil || !key.PublicKey.Equal(csr.PublicKey) || len(csr.Subject.Names) != 0 {
		t.Fatalf("got %+v, %v", csr, err)
	}
	if fmt.Sprint(csr.DNSNames, csr.IPAddresses) != "[a.test] [10.0.0.1 2001:db8::1]" {
		t.Errorf("the names are %v %v", csr.DNSNames, csr.IPAddresses)
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	got, ok := parseStat("42 (odd ) (name) S 7 42 42 0 -1 4194304 100 0 0 0 11 22 33 44 20 0 1 0 5 6 7")
	if !ok || got.parent != 7 || got.cpu != 110*clockTick {
		t.Errorf("got %+v, %v", got, ok)
	}
	for _, text := range []string{"", "42 (x) S 7", "42 (x) S ? 42 42 0 -1 0 0 0 0 0 1 2 3 4", "42 (x) S 7 42 42 0 -1 0 0 0 0 0 1 2 3 x"} {
		if _, ok := parseStat(text); ok {
			t.Errorf("%q is accepted", text)
		}
	}
}

func TestZone(t *testing.T) {
	t.Parallel()
	known := newAnswers()
	expected := &proof{DNS01, identifier.Identifier{Type: identifier.DNS, Value: "a.test"}, "token", "token.thumbprint"}
	if err := known.put(expected); err != nil {
		t.Fatal(err)
	}
	four, six := zone{known, netip.MustParseAddr("10.0.0.1")}, zone{known, netip.MustParseAddr("fd00::1")}
	for _, test := range []struct {
		zone zone
		name string
		kind uint16
		want string // "" for none
	}{
		{four, "any.test.", dns.TypeA, "10.0.0.1"}, {four, "any.test.", dns.TypeAAAA, ""}, {four, "any.test.", dns.TypeCAA, ""},
		{six, "any.test.", dns.TypeAAAA, "fd00::1"}, {six, "any.test.", dns.TypeA, ""},
		{four, "_acme-CHALLENGE.a.test.", dns.TypeTXT, `"61rBZ_4knHblO0MNoxFsXZ_eTFUHum0B6IVRbhvUn5I"`}, {four, "_acme-challenge.b.test.", dns.TypeTXT, ""},
	} {
		record := test.zone.record(dns.Question{Name: test.name, Qtype: test.kind, Qclass: dns.ClassINET})
		got := ""
		if record != nil {
			got = dns.Field(record, 1)
			if test.kind == dns.TypeTXT {
				got = `"` + got + `"`
			}
		}
		if got != test.want {
			t.Errorf("%s %s is %q, want %q", test.name, dns.TypeToString[test.kind], got, test.want)
		}
	}
	known.remove(expected)
	if _, ok := known.text("_acme-challenge.a.test"); ok {
		t.Error("the record is still there")
	}
}

// FuzzProblem reads answers that are no success.
func FuzzProblem(f *testing.F) {
	f.Add(400, `{"type":"urn:ietf:params:acme:error:badNonce","detail":"x","subproblems":[{"type":"y"}]}`, "")
	f.Add(503, `<html>`, "5")
	f.Add(429, `null`, "Fri, 01 Jan 2100 00:00:00 GMT")
	f.Add(429, `{"subproblems":[null]}`, "99999999999999999999")
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, status int, body, after string) {
		got := &answer{status, http.Header{"Retry-After": {after}}, []byte(body)}
		p := got.problem(now)
		if (p == nil) != (status < 400) {
			t.Fatalf("status %d gives %v", status, p)
		}
		if p == nil {
			return
		}
		if kindOf(p) == "" || p.Error() == "" {
			t.Error("a problem without a word")
		}
		if wait, _ := p.again(); wait < 0 {
			t.Errorf("wait %s", wait)
		}
	})
}
