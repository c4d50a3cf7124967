package validation

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"chancery/internal/failure"
)

// dns01 looks for the digest of the key authorization in DNS (RFC 8555 §8.4).
func (a *attempt) dns01(ctx context.Context) *failure.Error {
	return a.expectTXT(ctx, "_acme-challenge."+a.name())
}

// expectTXT passes when one of the TXT records of owner is the digest of the
// key authorization.
func (a *attempt) expectTXT(ctx context.Context, owner string) *failure.Error {
	expected := DNSDigest(a.keyAuthorization())
	values, err := a.txt(ctx, owner)
	if err != nil {
		return err
	}
	for _, value := range values {
		if value == expected {
			a.log.add(Step{Action: "compare", Name: owner, Expected: expected, Found: expected, Outcome: "ok"})
			return nil
		}
	}
	found := listed(values)
	a.log.add(Step{Action: "compare", Name: owner, Expected: expected, Found: found, Outcome: "no record has the value expected"})
	return failure.New(failure.Unauthorized, "%s has %s; expected the TXT record %q. "+
		"Check that the ACME client writes to the zone that resolver %s sees, and that the change has reached it.",
		owner, found, expected, strings.Join(a.resolver.serversFor(owner), ", "))
}

// txt returns the values of the TXT records of a name, each with its strings
// joined.
func (a *attempt) txt(ctx context.Context, name string) ([]string, *failure.Error) {
	records, err := a.resolver.lookup(ctx, a.log, name, dns.TypeTXT)
	if err != nil {
		return nil, err
	}
	var values []string
	for _, rr := range records {
		if record, ok := rr.(*dns.TXT); ok {
			values = append(values, txtValue(record))
		}
	}
	return values, nil
}

// listed sums up TXT values for a message.
func listed(values []string) string {
	const shown = 3
	if len(values) == 0 {
		return "no TXT record"
	}
	var quoted []string
	for _, value := range values[:min(shown, len(values))] {
		quoted = append(quoted, strconv.Quote(clip(value, maxAnswer)))
	}
	list := "the TXT value " + strings.Join(quoted, ", ")
	if more := len(values) - shown; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}

// txtValue joins the strings of a record (RFC 8555 §8.4) and undoes the
// escapes that the dns package keeps them in.
func txtValue(record *dns.TXT) string {
	var b strings.Builder
	for _, s := range record.Txt {
		for i := 0; i < len(s); i++ {
			if s[i] != '\\' || i+1 == len(s) {
				b.WriteByte(s[i])
			} else if code, err := strconv.ParseUint(s[i+1:min(i+4, len(s))], 10, 8); err == nil && i+3 < len(s) {
				b.WriteByte(byte(code))
				i += 3
			} else {
				b.WriteByte(s[i+1])
				i++
			}
		}
	}
	return b.String()
}
