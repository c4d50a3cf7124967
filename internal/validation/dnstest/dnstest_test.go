package dnstest

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func ask(t *testing.T, s *Server, network, name string, typ uint16) *dns.Msg {
	t.Helper()
	client := dns.Client{Net: network}
	reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), typ), s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func answers(reply *dns.Msg) string {
	var texts []string
	for _, rr := range reply.Answer {
		texts = append(texts, strings.Join(strings.Fields(rr.String())[3:], " "))
	}
	return strings.Join(texts, "; ")
}

func TestServer(t *testing.T) {
	s := New(t)
	s.SetA("www.corp", "192.0.2.1", "2001:db8::1")
	s.SetA("*.wild.corp", "192.0.2.2")
	s.SetCNAME("alias.corp", "www.corp")
	s.SetTXT("txt.corp", "one", strings.Repeat("x", 300))
	s.AddTXT("txt.corp", `a"b`)
	s.RemoveTXT("txt.corp", "one")
	s.SetCAA("corp", "128 issue ca.example; a=b")
	s.SetTXT("big.corp", slices.Repeat([]string{strings.Repeat("y", 200)}, 10)...)
	s.SetFault("broken.corp", Fault{Rcode: dns.RcodeServerFailure})
	s.SetFault("short.corp", Fault{Truncate: true})
	s.SetA("short.corp", "192.0.2.3")

	for _, test := range []struct {
		network, name string
		typ           uint16
		rcode         int
		truncated     bool
		want          string
	}{
		{"udp", "WWW.corp", dns.TypeA, 0, false, "A 192.0.2.1"},
		{"tcp", "www.corp", dns.TypeAAAA, 0, false, "AAAA 2001:db8::1"},
		{"udp", "alias.corp", dns.TypeA, 0, false, "CNAME www.corp.; A 192.0.2.1"},
		{"udp", "a.b.wild.corp", dns.TypeA, 0, false, "A 192.0.2.2"},
		{"udp", "wild.corp", dns.TypeA, 0, false, ""},
		{"udp", "none.corp", dns.TypeA, dns.RcodeNameError, false, ""},
		{"udp", "corp", dns.TypeCAA, 0, false, `CAA 128 issue "ca.example; a=b"`},
		{"udp", "big.corp", dns.TypeTXT, 0, true, ""},
		{"udp", "broken.corp", dns.TypeA, dns.RcodeServerFailure, false, ""},
		{"udp", "short.corp", dns.TypeA, 0, true, ""},
		{"tcp", "short.corp", dns.TypeA, 0, false, "A 192.0.2.3"},
	} {
		reply := ask(t, s, test.network, test.name, test.typ)
		if reply.Rcode != test.rcode || reply.Truncated != test.truncated || !test.truncated && answers(reply) != test.want {
			t.Errorf("%s %s: %s truncated=%v %q, want %q", test.network, test.name,
				dns.RcodeToString[reply.Rcode], reply.Truncated, answers(reply), test.want)
		}
	}
	if got := answers(ask(t, s, "tcp", "txt.corp", dns.TypeTXT)); !strings.Contains(got, `"a\"b"`) || strings.Contains(got, "one") {
		t.Errorf("TXT: %s", got)
	}
	if queries := s.Queries(); queries[0] != "udp A WWW.corp." {
		t.Errorf("first query %q", queries[0])
	}
}
