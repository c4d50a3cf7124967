package validation

import (
	"context"
	"testing"

	"github.com/miekg/dns"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/validation/dnstest"
)

func TestCAA(t *testing.T) {
	type zone map[string][]string
	for _, test := range []struct {
		name    string
		ask     string
		records zone
		says    string // "": may issue
	}{
		{"none at all", "www.a.corp", nil, ""},
		{"names us", "www.a.corp", zone{"www.a.corp": {"0 issue ca.example"}}, ""},
		{"names us above", "www.a.corp", zone{"corp": {"0 issue CA.Example."}}, ""},
		{"other", "www.a.corp", zone{"www.a.corp": {"0 issue other.example"}}, "the CAA records of www.a.corp do not let this CA issue for www.a.corp: none names it. This CA is known as ca.example, ca2.example."},
		{"other above", "www.a.corp", zone{"a.corp": {"0 issue other.example"}}, "CAA records of a.corp"},
		{"nearest wins", "www.a.corp", zone{"www.a.corp": {"0 issue ca2.example"}, "a.corp": {"0 issue ;"}}, ""},
		{"nobody", "www.a.corp", zone{"a.corp": {"0 issue ;"}}, "none names it"},
		{"one of two", "www.a.corp", zone{"a.corp": {"0 issue ;", "0 issue ca.example"}}, ""},
		{"other properties only", "www.a.corp", zone{"a.corp": {"0 iodef mailto:x@a.corp", "0 issuewild ;", "0 future x"}}, ""},
		{"tag in capitals", "www.a.corp", zone{"a.corp": {"0 ISSUE other.example"}}, "none names it"},
		{"unreadable", "www.a.corp", zone{"a.corp": {"0 issue ca.example; %"}}, "can't be read"},
		{"unreadable name", "www.a.corp", zone{"a.corp": {"0 issue ca example"}}, "can't be read"},
		{"not in ASCII", "www.a.corp", zone{"a.corp": {"0 issue ca.e\\226\\132\\170ample"}}, "can't be read"},
		{"critical known", "www.a.corp", zone{"a.corp": {"128 issue ca.example"}}, ""},
		{"critical unknown", "www.a.corp", zone{"a.corp": {"0 issue ca.example", "128 future x"}}, `critical property "future"`},
		{"unknown, another flag", "www.a.corp", zone{"a.corp": {"0 issue ca.example", "1 future x"}}, ""},

		{"wildcard by issue", "*.a.corp", zone{"a.corp": {"0 issue ca.example"}}, ""},
		{"wildcard by issuewild", "*.a.corp", zone{"a.corp": {"0 issue ;", "0 issuewild ca.example"}}, ""},
		{"wildcard forbidden", "*.a.corp", zone{"a.corp": {"0 issue ca.example", "0 issuewild ;"}}, "none names it"},
		{"issuewild is for wildcards", "a.corp", zone{"a.corp": {"0 issue ca.example", "0 issuewild ;"}}, ""},

		{"account", "a.corp", zone{"a.corp": {"0 issue ca.example; accounturi=" + accountURL}}, ""},
		{"other account", "a.corp", zone{"a.corp": {"0 issue ca.example; accounturi=" + accountURL + "4"}}, "another account"},
		{"account twice", "a.corp", zone{"a.corp": {"0 issue ca.example; accounturi=" + accountURL + "; AccountURI=" + accountURL}}, "parameter twice"},
		{"two accounts in two records", "a.corp", zone{"a.corp": {"0 issue ca.example; accounturi=x", "0 issue ca.example; accounturi=" + accountURL}}, ""},
		{"method", "a.corp", zone{"a.corp": {"0 issue ca.example; validationmethods=http-01,dns-01"}}, ""},
		{"other method", "a.corp", zone{"a.corp": {"0 issue ca.example; validationmethods=http-01,ca-web"}}, "does not list dns-01"},
		{"no method", "a.corp", zone{"a.corp": {"0 issue ca.example; validationmethods="}}, "does not list dns-01"},
		{"unknown parameter", "a.corp", zone{"a.corp": {"0 issue ca.example; policy=ev"}}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.config.CAA, w.config.CAAIdentities = true, []string{"ca.example", "ca2.example"}
			for domain, records := range test.records {
				w.dns.SetCAA(domain, records...)
			}
			id := dnsName(test.ask)
			w.dns.SetTXT("_acme-challenge."+id.Base().Value, DNSDigest(keyAuth))
			result := w.validate(DNS01, id)
			if test.says == "" {
				proven(t, result)
				return
			}
			refused(t, result, failure.CAA, test.says)
			if !result.Final {
				t.Error("a retry would not help")
			}
		})
	}
}

func (w *world) checkCAA(id identifier.Identifier) (Transcript, *failure.Error) {
	w.Helper()
	return w.validator().CheckCAA(context.Background(), CAARequest{id.Base(), id.IsWildcard(), HTTP01, accountURL})
}

func TestCheckCAA(t *testing.T) {
	w := newWorld(t)
	w.dns.SetCAA("a.corp", "0 issue ;")
	if _, err := w.checkCAA(dnsName("a.corp")); err != nil {
		t.Errorf("off, but: %v", err)
	}
	w.config.CAA, w.config.CAAIdentities = true, []string{"ca.example"}
	if _, err := w.checkCAA(ip("192.0.2.1")); err != nil {
		t.Errorf("an address: %v", err)
	}
	transcript, err := w.checkCAA(dnsName("x.a.corp"))
	if err == nil || err.Kind != failure.CAA || transcript.Summary() != err.Public || len(transcript.Steps) != 3 {
		t.Errorf("%v\n%s", err, transcript)
	}

	// An alias's records count for the name, but its parents' do not.
	w.dns.SetCNAME("alias.b.corp", "host.a.corp")
	w.dns.SetA("host.a.corp", "192.0.2.1")
	if transcript, err := w.checkCAA(dnsName("alias.b.corp")); err != nil {
		t.Errorf("%v\n%s", err, transcript)
	}
	w.dns.SetCAA("host.a.corp", "0 issue other.example")
	if _, err := w.checkCAA(dnsName("alias.b.corp")); err == nil || err.Kind != failure.CAA {
		t.Errorf("alias: %v", err)
	}

	// No clear answer, no certificate; but that may pass.
	w.dns.SetFault("b.corp", dnstest.Fault{Rcode: dns.RcodeServerFailure})
	w.dns.SetTXT("_acme-challenge.x.b.corp", DNSDigest(keyAuth))
	result := w.validate(DNS01, dnsName("x.b.corp"))
	refused(t, result, failure.DNS, "it is not known whether CAA records of b.corp forbid to issue for x.b.corp", "SERVFAIL")
	if result.Final {
		t.Error("a retry may help")
	}
}
