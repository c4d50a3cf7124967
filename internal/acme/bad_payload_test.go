package acme_test

import (
	"fmt"
	"strings"
	"time"

	"chancery/internal/acme/acmetest"
)

// badPayloads are signed well; what is signed is no JSON, or of the wrong
// shape.
func badPayloads() (list []bad) {
	for name, url := range map[string]func(*scene) string{
		"newOrder": toNewOrder, "newAuthz": toNewAuthz, "finalize": toFinalize, "revokeCert": toRevoke, "an account": toAccount,
		"a challenge": toChallenge, "an authorization": toAuthz,
	} {
		list = append(list,
			bad{name + " gets an array", text(url, "[]"), 400, "malformed", "object"},
			bad{name + " gets JSON cut off", text(url, `{"x":`), 400, "malformed", "payload"},
		)
	}
	for name, url := range map[string]func(*scene) string{"newOrder": toNewOrder, "newAuthz": toNewAuthz, "finalize": toFinalize, "revokeCert": toRevoke} {
		list = append(list, bad{name + " is read", payload(url, nil), 400, "malformed", "empty"})
	}
	for name, url := range map[string]func(*scene) string{"an order": toOrder, "an orders list": toOrdersList} {
		list = append(list, bad{name + " is written", payload(url, members{"status": "valid"}), 400, "malformed", "read"})
	}
	return append(list,
		bad{"contact is a string", text(toAccount, `{"contact":"mailto:a@b.test"}`), 400, "malformed", "contact"},
		bad{"contact has a number", text(toAccount, `{"contact":[1]}`), 400, "malformed", "contact"},
		bad{"status is a list", text(toAccount, `{"status":[]}`), 400, "malformed", "status"},
		bad{"identifiers is an object", text(toNewOrder, `{"identifiers":{}}`), 400, "malformed", "identifiers"},
		bad{"an identifier is a string", text(toNewOrder, `{"identifiers":["x.test"]}`), 400, "malformed", "identifier"},
		bad{"a value is a number", text(toNewOrder, `{"identifiers":[{"type":"dns","value":1}]}`), 400, "malformed", "value"},
		bad{"the csr is a number", text(toFinalize, `{"csr":1}`), 400, "malformed", "csr"},
		bad{"the reason is a string", text(toRevoke, `{"certificate":"AAAA","reason":"superseded"}`), 400, "malformed", "reason"},
		bad{"the reason is a fraction", text(toRevoke, `{"certificate":"AAAA","reason":1.5}`), 400, "malformed", "reason"},
		bad{"an inner JWS that is none", text(toKeyChange, `{}`), 400, "malformed", "inner"},
	)
}

// badOrders are orders of good names.
func badOrders() []bad {
	names := acmetest.DNS("order.example.test")
	var many []acmetest.Name
	for i := range 101 {
		many = append(many, acmetest.DNS(fmt.Sprintf("n%d.example.test", i))...)
	}
	at := func(offset time.Duration) string { return time.Now().Add(offset).UTC().Format(time.RFC3339) }
	const m, day = "malformed", 24 * time.Hour
	return []bad{
		{"no identifiers", payload(toNewOrder, members{}), 400, m, "no identifiers"},
		{"an empty list of identifiers", ordering(nil, nil), 400, m, "no identifiers"},
		{"101 identifiers", ordering(many, nil), 400, m, "at most 100"},
		{"a name twice", ordering(append(names, names...), nil), 400, m, "twice"},
		{"a name twice in other capitals", ordering(acmetest.DNS("order.example.test", "ORDER.example.test"), nil), 400, m, "twice"},
		{"notBefore that is no time", ordering(names, members{"notBefore": "tomorrow"}), 400, m, "notBefore"},
		{"notAfter that is a number", ordering(names, members{"notAfter": 1}), 400, m, "notAfter"},
		{"notAfter without a zone", ordering(names, members{"notAfter": "2030-01-01T00:00:00"}), 400, m, "notAfter"},
		{"notAfter in the past", ordering(names, members{"notAfter": at(-day)}), 400, m, "notAfter"},
		{"notAfter too far", ordering(names, members{"notAfter": at(1000 * day)}), 400, m, "notAfter"},
		{"notBefore long past", ordering(names, members{"notBefore": at(-day)}), 400, m, "notBefore"},
		{"notBefore too far", ordering(names, members{"notBefore": at(1000 * day)}), 400, m, "notBefore"},
		{"notAfter before notBefore", ordering(names, members{"notBefore": at(2 * day), "notAfter": at(day)}), 400, m, "notAfter"},
		{"a profile nobody knows", ordering(names, members{"profile": "nothing"}), 400, "invalidProfile", "tls-server"},
		{"a profile that is a number", ordering(names, members{"profile": 7}), 400, m, "profile"},
		{"replaces that is no identifier", ordering(names, members{"replaces": "nonsense"}), 400, m, "identifier"},
		{"replaces what is not there", ordering(names, members{"replaces": "AAAA.AQ"}), 400, m, "no certificate"},
		{"replaces what has other names", func(s *scene) *acmetest.Response {
			return ordering(names, members{"replaces": s.got.certID()})(s)
		}, 400, m, "in common"},
		{"replaces another account's", func(s *scene) *acmetest.Response {
			return post(s.t, s.other, s.other.Directory.NewOrder, members{"identifiers": s.names, "replaces": s.got.certID()})
		}, 403, "unauthorized", "another account"},
		{"a wildcard in advance", payload(toNewAuthz, members{"identifier": members{"type": "dns", "value": "*.example.test"}}), 403, m, "wildcard"},
		{"nothing in advance", payload(toNewAuthz, members{}), 400, "unsupportedIdentifier", "dns"},
	}
}

// badIdentifiers are refused by themselves, and each is named in a subproblem.
func badIdentifiers() (list []bad) {
	label := strings.Repeat("a", 63)
	for _, test := range []struct{ value, word string }{
		{"", "empty"},
		{".", "dot"},
		{"..", "dot"},
		{"a..example.test", "empty label"},
		{".example.test", "empty label"},
		{"example.test.", "dot"},
		{"-a.example.test", "hyphen"},
		{"a-.example.test", "hyphen"},
		{"a_b.example.test", "character"},
		{"a b.example.test", "character"},
		{" a.example.test", "character"},
		{"a.example.test\n", "character"},
		{"a\x00.example.test", "character"},
		{"a/b.example.test", "character"},
		{"https://example.test", "character"},
		{"example.test:443", "character"},
		{"user@example.test", "character"},
		{"bücher.example.test", "A-labels"},
		{"xn--.example.test", "hyphen"},
		{"xn--a.example.test", "A-label"},
		{"xn--bcher-kvA-.example.test", "hyphen"},
		{"ab--cd.example.test", "A-label"},
		{"*", "wildcard"},
		{"*.", "empty label"},
		{"*.*.example.test", "wildcard"},
		{"a*.example.test", "wildcard"},
		{"a.*.example.test", "wildcard"},
		{"192.0.2.1", "ip"},
		{"1.2.3.4.5", "ip"},
		{"example.123", "ip"},
		{"0x7f000001", "ip"},
		{"[2001:db8::1]", "character"},
		{label + "a.example.test", "label"},
		{strings.Repeat(label+".", 4) + "test", "253"},
		{strings.Repeat("a.", 40_000) + "test", "253"},
	} {
		list = append(list, bad{fmt.Sprintf("the name %.70q", test.value), identifier("dns", test.value, "malformed"), 400, "malformed", test.word})
	}
	for _, value := range []string{"", "example.test", "192.0.2.256", "192.0.2.1:80", "2001:DB8::1", "::ffff:192.0.2.1", "fe80::1%0", "0.0.0.0", "::", "224.0.0.1", "ff02::1"} {
		list = append(list, bad{fmt.Sprintf("the address %q", value), identifier("ip", value, "malformed"), 400, "malformed", "address"})
	}
	for _, kind := range []string{"", "DNS", "email", "permanent-identifier", strings.Repeat("x", 1000)} {
		list = append(list, bad{fmt.Sprintf("the type %.20q", kind), identifier(kind, "x.example.test", "unsupportedIdentifier"), 400, "unsupportedIdentifier", "\"ip\""})
	}
	return append(list, bad{"several bad identifiers", severalIdentifiers, 400, "compound", "3 identifiers"})
}

// identifier orders one bad name beside a good one.
func identifier(kind, value, want string) func(*scene) *acmetest.Response {
	return func(s *scene) *acmetest.Response {
		s.t.Helper()
		resp := ordering([]acmetest.Name{{Type: "dns", Value: "good.example.test"}, {Type: kind, Value: value}}, nil)(s)
		problem := resp.Problem()
		if problem == nil || len(problem.Subproblems) != 1 || problem.Identifier != nil {
			s.t.Fatalf("the problem is %+v", problem)
		}
		if sub := problem.Subproblems[0]; sub.Identifier == nil || !strings.HasPrefix(value, sub.Identifier.Value) || !strings.HasSuffix(sub.Type, ":"+want) || sub.Detail == "" {
			s.t.Errorf("the subproblem is %+v", sub)
		}
		return resp
	}
}

func severalIdentifiers(s *scene) *acmetest.Response {
	resp := ordering(append(acmetest.DNS("good.example.test", "a_b.test", "*.*.test"), acmetest.Name{Type: "email", Value: "a@b.test"}), nil)(s)
	if subs := resp.Problem().Subproblems; len(subs) != 3 || subs[2].Identifier.Type != "email" || !strings.HasSuffix(subs[2].Type, "unsupportedIdentifier") {
		s.t.Errorf("the subproblems are %+v", subs)
	}
	return resp
}

func badContacts() (list []bad) {
	for contact, kind := range map[string]string{
		"":                            "invalidContact",
		"admin@example.test":          "invalidContact",
		"mailto:":                     "invalidContact",
		"mailto:admin":                "invalidContact",
		"mailto:a@b.test,c@d.test":    "invalidContact",
		"mailto:a@b.test?subject=x":   "invalidContact",
		"mailto:Admin <a@b.test>":     "invalidContact",
		"mailto:a@b.test\r\nBcc: x@y": "invalidContact",
		"mailto:%zz@b.test":           "invalidContact",
		"mailto:" + strings.Repeat("a", 400) + "@b.test": "invalidContact",
		"tel:+4712345678":           "unsupportedContact",
		"https://example.test/form": "unsupportedContact",
	} {
		list = append(list,
			bad{fmt.Sprintf("a new account with the contact %.30q", contact), func(s *scene) *acmetest.Response {
				client := s.ca.NewClient()
				return post(s.t, client, client.Directory.NewAccount, members{"contact": []string{contact}})
			}, 400, kind, ""},
			bad{fmt.Sprintf("an update to the contact %.30q", contact), payload(toAccount, members{"contact": []string{"mailto:ok@b.test", contact}}), 400, kind, ""},
		)
	}
	many := make([]string, 11)
	for i := range many {
		many[i] = fmt.Sprintf("mailto:a%d@b.test", i)
	}
	return append(list, bad{"eleven contacts", payload(toAccount, members{"contact": many}), 400, "invalidContact", "10"})
}
