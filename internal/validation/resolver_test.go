package validation

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"chancery/internal/failure"
	"chancery/internal/validation/dnstest"
)

func (w *world) lookupTXT(name string) (*attempt, []dns.RR, *failure.Error) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), w.config.Timeout)
	defer cancel()
	a := w.validator().newAttempt(Request{})
	records, err := a.resolver.lookup(ctx, a.log, name, dns.TypeTXT)
	return a, records, err
}

func TestLookup(t *testing.T) {
	w := newWorld(t)
	w.dns.SetTXT("txt.corp", "one")
	w.dns.SetA("only-a.corp", "192.0.2.1")
	w.dns.SetCNAME("alias.corp", "TXT.corp")
	w.dns.SetCNAME("unchased.corp", "alias.corp")
	w.dns.SetFault("unchased.corp", dnstest.Fault{NoChase: true})
	w.dns.SetCNAME("dangling.corp", "gone.corp")
	w.dns.SetCNAME("self.corp", "self.corp")
	for i := range 20 {
		w.dns.SetCNAME(fmt.Sprintf("chain%d.corp", i), fmt.Sprintf("chain%d.corp", i+1))
	}
	w.dns.SetTXT("chain20.corp", "end")
	w.dns.SetTXT("tcp.corp", "over TCP")
	w.dns.SetFault("tcp.corp", dnstest.Fault{Truncate: true})
	w.dns.SetTXT("noedns.corp", "plain")
	w.dns.SetFault("fails.corp", dnstest.Fault{Rcode: dns.RcodeServerFailure})
	w.dns.SetFault("refuses.corp", dnstest.Fault{Rcode: dns.RcodeRefused})

	for _, test := range []struct {
		name string
		want int    // records
		says string // of the failure; "": none
	}{
		{"txt.corp", 1, ""},
		{"TXT.corp.", 1, ""},
		{"alias.corp", 1, ""},
		{"unchased.corp", 1, ""},
		{"only-a.corp", 0, ""},
		{"tcp.corp", 1, ""},
		{"chain11.corp", 1, ""},
		{"chain10.corp", 1, ""},
		{"chain9.corp", 0, "more than 10 times"},
		{"chain0.corp", 0, "more than 10 times"},
		{"self.corp", 0, "more than 10 times"},
		{"gone.corp", 0, "the name gone.corp does not exist according to resolver " + w.dns.Addr()},
		{"dangling.corp", 0, "dangling.corp is an alias"},
		{"fails.corp", 0, "answers SERVFAIL"},
		{"refuses.corp", 0, "answers REFUSED"},
		{strings.Repeat("a23456789.", 25) + "corp.x", 0, "too long"},
		{strings.Repeat("a", 64) + ".corp", 0, "too long"},
	} {
		a, records, err := w.lookupTXT(test.name)
		if len(records) != test.want || (err == nil) != (test.says == "") ||
			err != nil && !strings.Contains(err.Public, test.says) {
			t.Errorf("%s: %v, %v; want %d records, error %q\n%s", test.name, records, err, test.want, test.says, a.log.transcript)
		}
	}
}

func TestLookupWithoutEDNS(t *testing.T) {
	w := newWorld(t)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(rw dns.ResponseWriter, m *dns.Msg) {
		reply := new(dns.Msg).SetReply(m)
		if m.IsEdns0() != nil {
			reply.Rcode = dns.RcodeFormatError
		} else {
			reply.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeTXT, Class: 1}, Txt: []string{"old"}}}
		}
		_ = rw.WriteMsg(reply)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	w.config.Resolvers = []string{conn.LocalAddr().String()}
	if _, records, err := w.lookupTXT("old.corp"); err != nil || len(records) != 1 {
		t.Errorf("%v, %v", records, err)
	}
}

func TestFailover(t *testing.T) {
	w := newWorld(t)
	w.dns.SetTXT("a.corp", "value")
	dead := dnstest.New(t)
	dead.SetFault(".", dnstest.Fault{Drop: true})
	broken := dnstest.New(t)
	broken.SetFault(".", dnstest.Fault{Rcode: dns.RcodeServerFailure})
	w.config.Timeout = 900 * time.Millisecond
	w.config.Resolvers = []string{broken.Addr(), dead.Addr(), w.dns.Addr()}

	result := w.validate(DNS01, dnsName("a.corp"))
	refused(t, result, failure.DNS, "NXDOMAIN", w.dns.Addr())
	var outcomes []string
	for _, step := range result.Transcript.Steps {
		outcomes = append(outcomes, step.Outcome)
	}
	if want := []string{"SERVFAIL", "no answer in time", "NXDOMAIN"}; !slices.Equal(outcomes, want) {
		t.Errorf("outcomes %v, want %v", outcomes, want)
	}

	w.config.Resolvers = []string{broken.Addr(), dead.Addr()}
	began := time.Now()
	refused(t, w.validate(DNS01, dnsName("a.corp")), failure.DNS,
		"no answer for TXT _acme-challenge.a.corp", broken.Addr()+" answers SERVFAIL", dead.Addr()+" gives no usable answer (no answer in time)")
	if took := time.Since(began); took > w.config.Timeout+2*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestZoneResolvers(t *testing.T) {
	general, corp, lab := dnstest.New(t), dnstest.New(t), dnstest.New(t)
	for server, value := range map[*dnstest.Server]string{general: "general", corp: "corp", lab: "lab"} {
		server.SetTXT("*.corp", value)
		server.SetTXT("x.example", value)
	}
	corp.Remove("*.corp")
	corp.SetTXT("x.corp", "corp")
	corp.SetTXT("x.mycorp", "corp")
	corp.SetCNAME("alias.corp", "x.lab.corp")
	w := newWorld(t)
	w.config.Resolvers = []string{general.Addr()}
	w.config.ZoneResolvers = map[string][]string{"Corp": {corp.Addr()}, "lab.corp.": {lab.Addr()}}
	general.SetTXT("x.mycorp", "general")
	for name, want := range map[string]string{
		"x.example": "general", "x.corp": "corp", "x.lab.corp": "lab", "x.mycorp": "general", "alias.corp": "lab",
	} {
		_, records, err := w.lookupTXT(name)
		if err != nil || len(records) != 1 || txtValue(records[0].(*dns.TXT)) != want {
			t.Errorf("%s: %v, %v; want %s", name, records, err, want)
		}
	}
}

// Answers with another id or question are passed over, for they may be forged.
func TestForgedAnswers(t *testing.T) {
	w := newWorld(t)
	w.config.Timeout = 400 * time.Millisecond
	for _, forge := range []func(q dns.Question) *dns.Msg{
		func(dns.Question) *dns.Msg { return &dns.Msg{MsgHdr: dns.MsgHdr{Id: 1}} },
		func(q dns.Question) *dns.Msg { q.Name = "other."; return &dns.Msg{Question: []dns.Question{q}} },
		func(q dns.Question) *dns.Msg { q.Qtype = dns.TypeMX; return &dns.Msg{Question: []dns.Question{q}} },
		func(dns.Question) *dns.Msg { return &dns.Msg{Question: []dns.Question{}} },
	} {
		w.dns.SetHook(forge)
		if _, records, err := w.lookupTXT("a.corp"); err == nil || !strings.Contains(err.Public, "no answer in time") {
			t.Errorf("%v, %v", records, err)
		}
	}
}

func TestSystemFiles(t *testing.T) {
	dir := t.TempDir()
	resolv, hosts := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "hosts")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := newSystemFiles(resolv, hosts)
	if got := s.nameservers(); !slices.Equal(got, []string{"127.0.0.1:53"}) {
		t.Errorf("without a file: %v", got)
	}
	write(resolv, "search corp\nnameserver 10.0.0.1\nnameserver fd00::1\n")
	if got := s.nameservers(); !slices.Equal(got, []string{"10.0.0.1:53", "[fd00::1]:53"}) {
		t.Errorf("first file: %v", got)
	}
	write(resolv, "nameserver 10.0.0.2")
	if got := s.nameservers(); !slices.Equal(got, []string{"10.0.0.2:53"}) {
		t.Errorf("changed file: %v", got)
	}

	write(hosts, "# comment\n10.0.0.3 a.corp A2.corp. # both\nfd00::3\ta.corp\nbad line\n::ffff:10.0.0.4 b.corp\n")
	for name, want := range map[string]string{
		"A.corp":        "[10.0.0.3 fd00::3]",
		"a2.corp":       "[10.0.0.3]",
		"b.corp":        "[10.0.0.4]",
		"c.corp":        "[]",
		"localhost":     "[::1 127.0.0.1]",
		"www.localhost": "[::1 127.0.0.1]",
	} {
		if got := fmt.Sprint(s.addresses(name)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	w := newWorld(t)
	w.dns.SetA("both.corp", "192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2", "2001:db8::3")
	w.dns.SetTXT("none.corp", "x")
	w.dns.SetHook(func(q dns.Question) *dns.Msg {
		if q.Name == "halfbroken.corp." && q.Qtype == dns.TypeAAAA {
			return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeServerFailure}}
		}
		return nil
	})
	w.dns.SetA("halfbroken.corp", "192.0.2.9")
	for name, want := range map[string]string{
		"both.corp":       "[2001:db8::1 2001:db8::2 192.0.2.1 192.0.2.2]",
		"halfbroken.corp": "[192.0.2.9]",
		"2001:db8::7":     "[2001:db8::7]",
	} {
		a := w.validator().newAttempt(Request{})
		addrs, err := a.resolver.addresses(t.Context(), a.log, name)
		if err != nil || fmt.Sprint(addrs) != want {
			t.Errorf("%s: %v, %v; want %s", name, addrs, err, want)
		}
	}
	refused(t, w.validate(HTTP01, dnsName("none.corp")), failure.DNS, "neither an A nor an AAAA record", w.dns.Addr())
	refused(t, w.validate(TLSALPN01, dnsName("gone.corp")), failure.DNS, "gone.corp does not exist")
}

// Resolvers need not know localhost, but may.
func TestLocalhostWithResolvers(t *testing.T) {
	w := newWorld(t)
	w.config.HTTPPort = portOf(serveHTTP(t, "127.0.0.1:0", text(keyAuth)))
	proven(t, w.validate(HTTP01, dnsName("localhost")))
	w.dns.SetA("localhost", "192.0.2.1")
	result := w.validate(HTTP01, dnsName("localhost"))
	if result.Err == nil || !strings.Contains(result.Err.Public, "192.0.2.1") {
		t.Errorf("%v", result.Err)
	}
}

// A host that names no resolvers behaves as the system does.
func TestSystemResolver(t *testing.T) {
	w := newWorld(t)
	w.config.Resolvers = nil
	w.config.HTTPPort = portOf(serveHTTP(t, "127.0.0.1:0", text(keyAuth)))
	result := w.validate(HTTP01, dnsName("app.localhost"))
	proven(t, result)
	if first := result.Transcript.Steps[0]; first.Server == "" || !slices.Contains(first.Answers, netip.IPv6Loopback().String()) {
		t.Errorf("%+v", first)
	}
}
