package validation

import (
	"context"
	"testing"
	"time"

	"github.com/miekg/dns"

	"chancery/internal/failure"
	"chancery/internal/validation/dnstest"
)

const hashPrefix = "https://ca.example/acct-hash/"

func TestPersistAccountURI(t *testing.T) {
	for domain, want := range map[string]string{
		"example.com": "5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw",
		"*":           "NpDnSwUthQK8zCgFdefYxAdAVPnygMLbs9US6oO-5ug",
	} {
		if got := PersistAccountURI(hashPrefix, domain, thumbprint, accountURL); got != hashPrefix+"sha-256/"+want {
			t.Errorf("%s: %s", domain, got)
		}
	}
}

func TestDNSPersist01(t *testing.T) {
	now := time.Unix(1_800_000_000, 0).UTC()
	good := "ca.example; accounturi=" + accountURL
	hashed := func(domain, thumbprint string) string {
		return "ca.example; accounturi=" + PersistAccountURI(hashPrefix, domain, thumbprint, accountURL)
	}
	type zone map[string][]string
	at := func(values ...string) zone { return zone{"www.corp": values} }
	for _, test := range []struct {
		name    string
		ask     string
		records zone // by domain
		kind    failure.Kind
		says    string // "": proven
	}{
		{"account URL", "www.corp", at(good), 0, ""},
		{"one of several", "www.corp", at("nonsense;;", "other.example; accounturi=x", good), 0, ""},
		{"issuer in other case, unknown tag, space", "www.corp", at(" CA.Example. ;\tAccountURI = " + accountURL + " ; future=1 "), 0, ""},
		{"second issuer name", "www.corp", at("ca2.example; accounturi=" + accountURL), 0, ""},
		{"hashed with the name", "www.corp", at(hashed("www.corp", thumbprint)), 0, ""},
		{"hashed for any name", "www.corp", at(hashed("*", thumbprint)), 0, ""},
		{"hashed with a former key", "www.corp", at(hashed("www.corp", "former")), 0, ""},
		{"still good", "www.corp", at(good + "; persistUntil=1800000000"), 0, ""},
		{"wildcard", "*.www.corp", at(good + "; policy=WildCard"), 0, ""},
		{"wildcard covers the name", "www.corp", at(good + "; policy=wildcard"), 0, ""},
		{"unknown policy", "www.corp", at(good + "; policy=other"), 0, ""},
		{"below", "a.b.www.corp", at(good + "; policy=wildcard"), 0, ""},
		{"below, hashed", "a.www.corp", at(hashed("www.corp", thumbprint) + "; policy=wildcard"), 0, ""},

		{"none", "www.corp", nil, failure.DNS, "_validation-persist.www.corp does not exist"},
		{"other issuer", "www.corp", at("other.example; accounturi=" + accountURL), failure.Unauthorized, "names another issuer"},
		{"other account", "www.corp", at(good + "4"), failure.Unauthorized, `not this account's; expected "ca.example; accounturi=` + accountURL + `"`},
		{"hashed for another name", "www.corp", at(hashed("x.corp", thumbprint)), failure.Unauthorized, "not this account's"},
		{"hashed with a foreign key", "www.corp", at(hashed("www.corp", "foreign")), failure.Unauthorized, "not this account's"},
		{"no account", "www.corp", at("ca.example"), failure.Malformed, "no accounturi"},
		{"account twice", "www.corp", at(good + "; accounturi=" + accountURL), failure.Malformed, "accounturi more than once"},
		{"unknown tag twice", "www.corp", at(good + "; x=1; X=2"), failure.Malformed, "x more than once"},
		{"no issuer", "www.corp", at("; accounturi=" + accountURL), failure.Unauthorized, "another issuer"},
		{"no grammar", "www.corp", at("v=spf1 -all"), failure.Malformed, "does not begin with a domain name"},
		{"no parameter", "www.corp", at(good + "; wildcard"), failure.Malformed, "parameter 2 is not of the form tag=value"},
		{"over", "www.corp", at(good + "; persistUntil=1799999999"), failure.Unauthorized, "ended at 2027-01-15T07:59:59Z"},
		{"no time", "www.corp", at(good + "; persistUntil=2030-01-01"), failure.Malformed, "no number of seconds"},
		{"far too late", "www.corp", at(good + "; persistUntil=99999999999999999999"), failure.Malformed, "no number of seconds"},
		{"wildcard without policy", "*.www.corp", at(good), failure.Unauthorized, "policy=wildcard, which a wildcard needs"},
		{"below without policy", "a.www.corp", at(good), failure.Unauthorized, "policy=wildcard, which a name below its own needs"},
		{"several", "www.corp", at("other.example", "another.example"), failure.Unauthorized, "none of the 2 TXT records"},
		{"empty record", "www.corp", at(""), failure.Unauthorized, "another issuer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.config.PersistIssuers = []string{"ca.example", "ca2.example."}
			w.config.PersistHashPrefix = hashPrefix
			w.config.Now = func() time.Time { return now }
			for domain, values := range test.records {
				w.dns.SetTXT(PersistName(domain), values...)
			}
			req := request(DNSPersist01, dnsName(test.ask))
			req.PastThumbprints = []string{"former"}
			result := w.validator().Validate(context.Background(), req)
			if test.says == "" {
				proven(t, result)
			} else {
				refused(t, result, test.kind, test.says)
			}
			if test.name == "still good" != result.ValidUntil.Equal(now) {
				t.Errorf("valid until %v", result.ValidUntil)
			}
		})
	}
}

// A name above that can't be asked about does not hide what was found first.
func TestDNSPersist01Climb(t *testing.T) {
	w := newWorld(t)
	w.config.PersistIssuers = []string{"ca.example"}
	w.dns.SetTXT(PersistName("a.b.corp"), "other.example")
	w.dns.SetFault(PersistName("b.corp"), dnstest.Fault{Rcode: dns.RcodeServerFailure})
	refused(t, w.validate(DNSPersist01, dnsName("a.b.corp")), failure.Unauthorized, "another issuer")

	w.dns.SetFault(PersistName("a.b.corp"), dnstest.Fault{Rcode: dns.RcodeServerFailure})
	refused(t, w.validate(DNSPersist01, dnsName("a.b.corp")), failure.DNS, "SERVFAIL")
}
