package validation

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"chancery/internal/failure"
	"chancery/internal/validation/dnstest"
)

func TestDNS01(t *testing.T) {
	expected := DNSDigest(keyAuth)
	owner := "_acme-challenge.www.corp"
	for _, test := range []struct {
		name  string
		setup func(*dnstest.Server)
		kind  failure.Kind
		says  []string // nothing: proven
	}{
		{"right", func(s *dnstest.Server) { s.SetTXT(owner, expected) }, 0, nil},
		{"one of several", func(s *dnstest.Server) { s.SetTXT(owner, "a", expected, "b") }, 0, nil},
		{"in several strings", func(s *dnstest.Server) { s.SetTXTStrings(owner, expected[:5], "", expected[5:]) }, 0, nil},
		{"behind an alias in another zone", func(s *dnstest.Server) {
			s.SetCNAME(owner, "x.acme-dns.example")
			s.SetTXT("x.acme-dns.example", expected)
		}, 0, nil},
		{"too long for UDP", func(s *dnstest.Server) {
			s.SetTXT(owner, strings.Repeat("x", 2000), expected)
		}, 0, nil},
		{"no such name", func(*dnstest.Server) {}, failure.DNS, []string{owner, "does not exist", "NXDOMAIN", "Add the TXT record"}},
		{"no TXT record", func(s *dnstest.Server) { s.SetA(owner, "192.0.2.1") }, failure.Unauthorized, []string{owner, "no TXT record", expected}},
		{"wrong", func(s *dnstest.Server) { s.SetTXT(owner, "old\x1b") }, failure.Unauthorized, []string{`"old`, expected, "Check that the ACME client"}},
		{"many wrong", func(s *dnstest.Server) { s.SetTXT(owner, "a", "b", "c", "d", "e") }, failure.Unauthorized, []string{`"a", "b", "c" and 2 more`}},
		{"other case", func(s *dnstest.Server) { s.SetTXT(owner, strings.ToLower(expected)) }, failure.Unauthorized, []string{expected}},
		{"server fails", func(s *dnstest.Server) { s.SetFault(owner, dnstest.Fault{Rcode: dns.RcodeServerFailure}) }, failure.DNS, []string{"SERVFAIL"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			test.setup(w.dns)
			result := w.validate(DNS01, dnsName("*.www.corp"))
			if test.says == nil {
				proven(t, result)
				return
			}
			refused(t, result, test.kind, test.says...)
			if strings.Contains(result.Transcript.String()+result.Err.Public, "\x1b") {
				t.Error("a control character is let through")
			}
		})
	}
}

func TestTXTValueKeepsBytes(t *testing.T) {
	w := newWorld(t)
	var all [256]byte
	for i := range all {
		all[i] = byte(i)
	}
	w.dns.SetTXT("bytes.corp", string(all[:]), `back\slash "quote" \065`)
	values, err := w.validator().newAttempt(Request{}).txt(t.Context(), "bytes.corp")
	if err != nil || len(values) != 2 || values[0] != string(all[:]) || values[1] != `back\slash "quote" \065` {
		t.Errorf("%q, %v", values, err)
	}
	for in, want := range map[string]string{`\`: `\`, `a\`: `a\`, `\1`: "1", `\12`: "12", `\300`: "300", `\065`: "A"} {
		if got := txtValue(&dns.TXT{Txt: []string{in}}); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestDNSAccount01(t *testing.T) {
	if got, want := AccountLabel("https://example.com/acme/acct/ExampleAccount"), "_ujmmovf2vn55tgye"; got != want {
		t.Errorf("label %s, want %s", got, want)
	}
	w := newWorld(t)
	owner := AccountLabel(accountURL) + "._acme-challenge.www.corp"
	w.dns.SetTXT("_acme-challenge.www.corp", DNSDigest(keyAuth))
	refused(t, w.validate(DNSAccount01, dnsName("www.corp")), failure.DNS, owner, "does not exist")
	w.dns.SetTXT(owner, "wrong")
	refused(t, w.validate(DNSAccount01, dnsName("www.corp")), failure.Unauthorized, owner, `"wrong"`)
	w.dns.SetTXT(owner, DNSDigest(keyAuth))
	proven(t, w.validate(DNSAccount01, dnsName("www.corp")))
	proven(t, w.validate(DNSAccount01, dnsName("*.www.corp")))
}
