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

const goodRecord = "ca.example; accounturi=" + accountURL

func hashedRecord(domain, thumbprint string) string {
	return "ca.example; accounturi=" + PersistAccountURI(hashPrefix, domain, thumbprint, accountURL)
}

// persistCase is a name to prove, the records of www.corp, and what the
// failure says; "" when the name is proven.
type persistCase struct {
	name, ask string
	records   []string
	kind      failure.Kind
	says      string
}

func checkPersist(t *testing.T, test persistCase) Result {
	w := newWorld(t)
	w.config.PersistIssuers = []string{"ca.example", "ca2.example."}
	w.config.PersistHashPrefix = hashPrefix
	w.config.Now = func() time.Time { return time.Unix(1_800_000_000, 0) }
	if test.records != nil {
		w.dns.SetTXT(PersistName("www.corp"), test.records...)
	}
	req := request(DNSPersist01, dnsName(test.ask))
	req.PastThumbprints = []string{"former"}
	result := w.validator().Validate(context.Background(), req)
	if test.says == "" {
		proven(t, result)
	} else {
		refused(t, result, test.kind, test.says)
	}
	return result
}

func TestDNSPersist01Proves(t *testing.T) {
	for _, test := range []persistCase{
		{"account URL", "www.corp", []string{goodRecord}, 0, ""},
		{"one of several", "www.corp", []string{"nonsense;;", "other.example; accounturi=x", goodRecord}, 0, ""},
		{"issuer in other case, unknown tag, space", "www.corp", []string{" CA.Example. ;\tAccountURI = " + accountURL + " ; future=1 "}, 0, ""},
		{"second issuer name", "www.corp", []string{"ca2.example; accounturi=" + accountURL}, 0, ""},
		{"hashed with the name", "www.corp", []string{hashedRecord("www.corp", thumbprint)}, 0, ""},
		{"hashed for any name", "www.corp", []string{hashedRecord("*", thumbprint)}, 0, ""},
		{"hashed with a former key", "www.corp", []string{hashedRecord("www.corp", "former")}, 0, ""},
		{"still good", "www.corp", []string{goodRecord + "; persistUntil=1800000000"}, 0, ""},
		{"wildcard", "*.www.corp", []string{goodRecord + "; policy=WildCard"}, 0, ""},
		{"wildcard covers the name", "www.corp", []string{goodRecord + "; policy=wildcard"}, 0, ""},
		{"unknown policy", "www.corp", []string{goodRecord + "; policy=other"}, 0, ""},
		{"below", "a.b.www.corp", []string{goodRecord + "; policy=wildcard"}, 0, ""},
		{"below, hashed", "a.www.corp", []string{hashedRecord("www.corp", thumbprint) + "; policy=wildcard"}, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) { checkPersist(t, test) })
	}
	until := checkPersist(t, persistCase{ask: "www.corp", records: []string{goodRecord + "; persistUntil=1800000000"}}).ValidUntil
	if !until.Equal(time.Unix(1_800_000_000, 0)) {
		t.Errorf("valid until %v", until)
	}
}

func TestDNSPersist01Refuses(t *testing.T) {
	for _, test := range []persistCase{
		{"none", "www.corp", nil, failure.DNS, "_validation-persist.www.corp does not exist"},
		{"other issuer", "www.corp", []string{"other.example; accounturi=" + accountURL}, failure.Unauthorized, "names another issuer"},
		{"other account", "www.corp", []string{goodRecord + "4"}, failure.Unauthorized, `not this account's; expected "ca.example; accounturi=` + accountURL + `"`},
		{"hashed for another name", "www.corp", []string{hashedRecord("x.corp", thumbprint)}, failure.Unauthorized, "not this account's"},
		{"hashed with a foreign key", "www.corp", []string{hashedRecord("www.corp", "foreign")}, failure.Unauthorized, "not this account's"},
		{"no account", "www.corp", []string{"ca.example"}, failure.Malformed, "no accounturi"},
		{"account twice", "www.corp", []string{goodRecord + "; accounturi=" + accountURL}, failure.Malformed, "accounturi more than once"},
		{"unknown tag twice", "www.corp", []string{goodRecord + "; x=1; X=2"}, failure.Malformed, "x more than once"},
		{"no issuer", "www.corp", []string{"; accounturi=" + accountURL}, failure.Unauthorized, "another issuer"},
		{"no grammar", "www.corp", []string{"v=spf1 -all"}, failure.Malformed, "does not begin with a domain name"},
		{"no parameter", "www.corp", []string{goodRecord + "; wildcard"}, failure.Malformed, "parameter 2 is not of the form tag=value"},
		{"over", "www.corp", []string{goodRecord + "; persistUntil=1799999999"}, failure.Unauthorized, "ended at 2027-01-15T07:59:59Z"},
		{"no time", "www.corp", []string{goodRecord + "; persistUntil=2030-01-01"}, failure.Malformed, "no number of seconds"},
		{"far too late", "www.corp", []string{goodRecord + "; persistUntil=99999999999999999999"}, failure.Malformed, "no number of seconds"},
		{"wildcard without policy", "*.www.corp", []string{goodRecord}, failure.Unauthorized, "policy=wildcard, which a wildcard needs"},
		{"below without policy", "a.www.corp", []string{goodRecord}, failure.Unauthorized, "policy=wildcard, which a name below its own needs"},
		{"several", "www.corp", []string{"other.example", "another.example"}, failure.Unauthorized, "none of the 2 TXT records"},
		{"empty record", "www.corp", []string{""}, failure.Unauthorized, "another issuer"},
	} {
		t.Run(test.name, func(t *testing.T) { checkPersist(t, test) })
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
