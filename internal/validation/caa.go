package validation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"chancery/internal/failure"
	"chancery/internal/identifier"
)

// CAARequest asks whether CAA records let this CA issue for a name.
type CAARequest struct {
	Identifier identifier.Identifier // without "*."; an address has no CAA records and passes
	Wildcard   bool
	Method     Method // how control was proven
	AccountURL string
}

// CheckCAA does the CAA check on its own, for a proof that was made a while
// ago. With CAA off it passes.
func (v *Validator) CheckCAA(ctx context.Context, req CAARequest) (Transcript, *failure.Error) {
	ctx, cancel := context.WithTimeout(ctx, v.config.Timeout)
	defer cancel()
	a := v.newAttempt(Request{Identifier: req.Identifier, Wildcard: req.Wildcard, Method: req.Method, AccountURL: req.AccountURL})
	err := a.checkCAA(ctx)
	a.log.finish(err)
	if err == nil {
		a.log.transcript.Outcome = "CAA records do not forbid issuance."
	}
	return a.log.transcript, err
}

// checkCAA finds the CAA records in force and judges them. Only a clear answer
// lets pass: a failed lookup does not (RFC 8659 §3).
func (a *attempt) checkCAA(ctx context.Context) *failure.Error {
	if !a.config.CAA || a.Identifier.Type != identifier.DNS {
		return nil
	}
	domain, records, err := a.relevantCAA(ctx)
	if err != nil || len(records) == 0 {
		return err
	}
	if err := a.judgeCAA(records); err != nil {
		a.log.add(Step{Action: "compare", Type: "CAA", Name: domain,
			Expected: "issuer " + strings.Join(a.config.CAAIdentities, " or "), Outcome: err.Error()})
		return a.finally(failure.New(failure.CAA, "the CAA records of %s do not let this CA issue for %s: %s. "+
			"This CA is known as %s.", domain, a.name(), err, strings.Join(a.config.CAAIdentities, ", ")))
	}
	a.log.add(Step{Action: "compare", Type: "CAA", Name: domain, Outcome: "ok"})
	return nil
}

// relevantCAA climbs from the name towards the root until a name has CAA
// records (RFC 8659 §3). Aliases are followed at each name, but the climb goes
// on from the name itself.
func (a *attempt) relevantCAA(ctx context.Context) (domain string, records []*dns.CAA, _ *failure.Error) {
	domain = a.name()
	for {
		found, err := a.resolver.lookup(ctx, a.log, domain, dns.TypeCAA)
		if err != nil && !errors.Is(err, errNoName) {
			return "", nil, failure.New(err.Kind, "it is not known whether CAA records of %s forbid to issue for %s: %s",
				domain, a.name(), err.Public).Because(err)
		}
		for _, rr := range found {
			if record, ok := rr.(*dns.CAA); ok {
				records = append(records, record)
			}
		}
		_, parent, more := strings.Cut(domain, ".")
		if len(records) > 0 || !more {
			return domain, records, nil
		}
		domain = parent
	}
}

// knownProperties are the tags whose meaning is known here, so that marking
// them critical forbids nothing: those without effect on host names too.
var knownProperties = []string{"issue", "issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone"}

// judgeCAA returns why the records forbid issuance, or nil.
func (a *attempt) judgeCAA(records []*dns.CAA) error {
	const critical = 0x80
	properties := map[string][]string{} // values by tag
	for _, record := range records {
		tag := strings.ToLower(record.Tag)
		if record.Flag&critical != 0 && !slices.Contains(knownProperties, tag) {
			return fmt.Errorf("the critical property %q is unknown", clip(tag, 40))
		}
		properties[tag] = append(properties[tag], record.Value)
	}
	values := properties["issue"]
	if wild := properties["issuewild"]; a.Wildcard && len(wild) > 0 {
		values = wild
	}
	if len(values) == 0 {
		return nil
	}
	why := errors.New("none names it")
	for _, value := range values {
		err := a.authorizes(value)
		if err == nil {
			return nil
		}
		if !errors.Is(err, errOtherIssuer) {
			why = err
		}
	}
	return why
}

var errOtherIssuer = errors.New("it names another issuer")

// authorizes returns why one issue or issuewild value doesn't authorize this
// CA, account and method (RFC 8657 §3 and §4), or nil when it does.
func (a *attempt) authorizes(value string) error {
	parsed, err := parseIssueValue(value)
	if err != nil {
		return fmt.Errorf("a value can't be read: %w", err)
	}
	if !parsed.names(a.config.CAAIdentities) {
		return errOtherIssuer
	}
	account, accounts := parsed.get("accounturi")
	methods, lists := parsed.get("validationmethods")
	switch {
	case accounts > 1 || lists > 1:
		return errors.New("the one that names it has a parameter twice")
	case accounts == 1 && account != a.AccountURL:
		return errors.New("the one that names it is for another account (accounturi)")
	case lists == 1 && !slices.Contains(strings.Split(methods, ","), string(a.Method)):
		return fmt.Errorf("the one that names it does not list %s (validationmethods)", a.Method)
	}
	return nil
}
