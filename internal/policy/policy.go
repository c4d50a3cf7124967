// Package policy answers one question: may this requester have these
// identifiers? Every answer names the rule that gave it. Rules come from the
// configuration, grants from the keys for external account binding; the name
// constraints of the CA's own certificates hold whatever they say. It does not
// look into certificates, and it proves nothing.
package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
)

// SelfDoor is the door by which the CA asks for its own certificates. Rules do
// not concern it, or a mistake in them would keep the server from starting.
const SelfDoor = "self"

// tokenDoor is the door that has provisioners.
const tokenDoor = "token"

// Doors are the doors that rules can name.
func Doors() []string { return []string{"acme", tokenDoor} }

// Question is what rules look at.
type Question struct {
	Door        string   // the door that asks: "acme", "token", SelfDoor
	AccountID   string   // the ACME account, if any
	Provisioner string   // what proved who asks, at doors that have several
	Profiles    []string // that the provisioner names
	GrantID     string   // the grant, when no account leads to it
	Profile     string   // "" when it is not known yet
	KeyType     string   // as profiles name it; "" when it is not known yet
	Identifiers []identifier.Identifier
	// Preauthorized are those of the identifiers that nobody has proven, for a
	// grant stands for them. It must still do so.
	Preauthorized []identifier.Identifier
}

// Decision is an answer.
type Decision struct {
	Rule        string        // the rules that allowed it, each once
	Names       []Verdict     // of each identifier, also of a question that is refused
	MaxValidity time.Duration // the shortest of what the rules bound it to; 0 for no bound
	Grant       *Grant        // of who asked; nil for none
}

// RefuseAll makes the decision one that refuses every name for the same reason.
func (d *Decision) RefuseAll(rule string, err error) {
	d.Rule = ""
	for i := range d.Names {
		d.Names[i].Allowed, d.Names[i].Rule, d.Names[i].Reason = false, rule, failure.ReportOf(err).Text
	}
}

// Verdict is the answer about one name.
type Verdict struct {
	Identifier identifier.Identifier
	Allowed    bool
	Rule       string // that decided
	Reason     string // for people; "" of one that is allowed
}

// NameConstraints reports whether the issuing chain of a profile may certify the
// identifiers: a failure of kind Rejected if not.
type NameConstraints func(profile string, ids []identifier.Identifier) error

// Grants finds grants. A nil *Grant means that there is none.
type Grants interface {
	GrantOf(ctx context.Context, accountID string) (*Grant, error)
	Grant(ctx context.Context, id string) (*Grant, error)
}

// Policy is the rules in force. The zero value allows what the door has proven.
type Policy struct {
	// Constraints are those of the CA's own certificates; nil for none.
	Constraints NameConstraints
	// Grants are those of accounts; nil for none.
	Grants Grants
	// Now is the clock; nil for time.Now.
	Now func() time.Time

	rules atomic.Pointer[Rules]
}

// SetRules replaces the rules for all questions from now on; nil for none.
func (p *Policy) SetRules(rules *Rules) { p.rules.Store(rules) }

// The rules that nobody writes.
const (
	ruleDefault     = "default"
	ruleConstraints = "name constraints of the CA"
	ruleSelf        = "the CA's own certificate"
	ruleSingle      = "allow_single_label"
	ruleUnderscores = "allow_underscores"
)

// asking is one question on its way.
type asking struct {
	Question
	now      time.Time
	grant    *Grant
	rules    *Rules
	scopes   []int32
	longer   time.Duration // Decision.MaxValidity so far
	keyRules []*rule       // that bound the key
}

// Decide answers q. A refusal is a failure that says, in its Parts, which rule
// refused which name; its kind is Rejected, or what else is the reason. The
// verdicts are there in any case, unless the error is the store's.
func (p *Policy) Decide(ctx context.Context, q Question) (Decision, error) {
	ask, err := p.ask(ctx, q)
	if err != nil {
		return Decision{}, err
	}
	if rule, err := ask.refusesAll(); err != nil {
		return ask.refused(rule, err), err
	}
	decision := Decision{Names: make([]Verdict, len(q.Identifiers)), Grant: ask.grant}
	var parts []failure.Part
	for i, id := range q.Identifiers {
		verdict := p.judge(ask, id)
		decision.Names[i] = verdict
		if !verdict.Allowed {
			parts = append(parts, failure.Part{Identifier: id, Kind: failure.Rejected, Public: verdict.Reason})
		}
	}
	if len(parts) > 0 {
		return decision, refusal(parts)
	}
	if rule, err := ask.badKey(); err != nil {
		return ask.refused(rule, err), err
	}
	decision.Rule, decision.MaxValidity = rulesOf(decision.Names), ask.longer
	return decision, nil
}

func (p *Policy) ask(ctx context.Context, q Question) (*asking, error) {
	ask := &asking{Question: q, rules: p.rules.Load()}
	if p.Now != nil {
		ask.now = p.Now()
	} else {
		ask.now = time.Now()
	}
	if q.Door == SelfDoor {
		ask.rules = nil
	}
	var err error
	if p.Grants != nil {
		switch {
		case q.GrantID != "":
			ask.grant, err = p.Grants.Grant(ctx, q.GrantID)
		case q.AccountID != "":
			ask.grant, err = p.Grants.GrantOf(ctx, q.AccountID)
		}
	}
	if err != nil {
		return nil, failure.Wrap("find grant", err)
	}
	ask.findScopes()
	return ask, nil
}

// findScopes looks up which parts of the index concern the question.
func (ask *asking) findScopes() {
	ask.scopes = append(ask.scopes, 0)
	if ask.rules == nil {
		return
	}
	add := func(kind, name string) {
		if scope, found := ask.rules.scopes[kind+name]; found && name != "" && !slices.Contains(ask.scopes, scope) {
			ask.scopes = append(ask.scopes, scope)
		}
	}
	add("a", ask.AccountID)
	add("p", ask.Provisioner)
	if ask.grant != nil {
		add("g", ask.grant.ID)
		add("g", ask.grant.Name)
	}
}

// refusesAll reports what is wrong with the request whatever its names.
func (ask *asking) refusesAll() (rule string, err error) {
	if ask.grant != nil {
		if err := ask.grant.usable(ask.now); err != nil {
			return ask.grant.title(), err
		}
		if err := ask.grant.permits(ask.Profile); err != nil {
			return ask.grant.title(), err
		}
	}
	return "", nil
}

// refused is the decision that refuses every name for the same reason.
func (ask *asking) refused(rule string, err error) Decision {
	decision := Decision{Names: make([]Verdict, len(ask.Identifiers)), Grant: ask.grant}
	for i, id := range ask.Identifiers {
		decision.Names[i].Identifier = id
	}
	decision.RefuseAll(rule, err)
	return decision
}

// DecideAdded holds names that nobody asked for, but a profile adds, against what
// forbids names: the name constraints of the CA, the grant and the rules that
// deny. What allows names is about those that requesters ask for. The error is
// as Decide's.
func (p *Policy) DecideAdded(ctx context.Context, q Question) error {
	ask, err := p.ask(ctx, q)
	if err != nil {
		return err
	}
	var parts []failure.Part
	for _, id := range q.Identifiers {
		verdict, denied := p.constrains(ask, id)
		if !denied {
			verdict, denied = ask.denies(id, ask.look(id))
		}
		if denied {
			parts = append(parts, failure.Part{Identifier: id, Kind: failure.Rejected, Public: verdict.Reason})
		}
	}
	if len(parts) > 0 {
		return refusal(parts)
	}
	return nil
}

// judge answers about one name. What the CA's own certificates say comes
// first, then what its form is, then who denies it, then who allows it.
func (p *Policy) judge(ask *asking, id identifier.Identifier) Verdict {
	if verdict, outside := p.constrains(ask, id); outside {
		return verdict
	}
	if ask.Door == SelfDoor {
		return Verdict{Identifier: id, Allowed: true, Rule: ruleSelf}
	}
	if verdict, bad := ask.badForm(id); bad {
		return verdict
	}
	found := ask.look(id)
	if verdict, denied := ask.denies(id, found); denied {
		return verdict
	}
	return ask.allowed(id, found)
}

// constrains answers about a name that the CA's own certificates exclude.
func (p *Policy) constrains(ask *asking, id identifier.Identifier) (verdict Verdict, outside bool) {
	if p.Constraints == nil {
		return verdict, false
	}
	err := p.Constraints(ask.Profile, []identifier.Identifier{id})
	if err == nil {
		return verdict, false
	}
	return refused(id, ruleConstraints, "%s (%s)", failure.ReportOf(err).Text, ruleConstraints), true
}

// denies answers about a name that the grant or a rule denies.
func (ask *asking) denies(id identifier.Identifier, found found) (verdict Verdict, denied bool) {
	if grant := ask.grant; grant != nil {
		if pattern, denied := grant.holds(denyList, id); denied {
			return refused(id, grant.title(), "the %s denies %s", grant.title(), pattern), true
		}
	}
	if found.deny != nil {
		title := ruleTitle(found.deny.Name)
		return refused(id, title, "the %s denies %s", title, found.denyPattern), true
	}
	return verdict, false
}

func refused(id identifier.Identifier, rule, format string, args ...any) Verdict {
	return Verdict{Identifier: id, Rule: rule, Reason: fmt.Sprintf(format, args...)}
}

// allowed answers about a name that nobody denies.
func (ask *asking) allowed(id identifier.Identifier, found found) Verdict {
	rule := ruleDefault
	switch grant := ask.grant; {
	case grant != nil && len(grant.lists[allowList]) > 0:
		pattern, allowed := grant.holds(allowList, id)
		rule = fmt.Sprintf("%s (%s)", grant.title(), pattern)
		if !allowed {
			return refused(id, grant.title(), "the %s allows only %s", grant.title(), join(grant.lists[allowList]))
		}
	case found.allow != nil:
		rule = ruleTitle(found.allow.Name)
	case ask.rules != nil && ask.rules.spec.DenyByDefault:
		return refused(id, ruleDefault, "no rule allows it, and the default is deny (policy.default)")
	}
	if slices.Contains(ask.Preauthorized, id) && (ask.grant == nil || !ask.grant.Preauthorizes(id, ask.now)) {
		return refused(id, "preauthorize", "the grant that stood for a proof of it no longer does; order again, to prove it")
	}
	return Verdict{Identifier: id, Allowed: true, Rule: rule}
}

func ruleTitle(name string) string { return fmt.Sprintf("rule %q", name) }

func (ask *asking) badForm(id identifier.Identifier) (verdict Verdict, bad bool) {
	if id.Type != identifier.DNS {
		return verdict, false
	}
	switch {
	case (ask.rules == nil || !ask.rules.spec.AllowUnderscores) && strings.Contains(id.Value, "_"):
		return Verdict{Identifier: id, Rule: ruleUnderscores, Reason: "names with underscores are not allowed here (policy.allow_underscores)"}, true
	case ask.rules != nil && ask.rules.spec.RefuseSingle && !strings.Contains(id.Base().Value, "."):
		return Verdict{Identifier: id, Rule: ruleSingle, Reason: "names of a single label are not allowed here (policy.allow_single_label)"}, true
	}
	return verdict, false
}

// found is what the rules say of a name: the first of each kind, in order.
type found struct {
	allow, deny   *rule
	first, denier int32 // the numbers of the two
	denyPattern   Pattern
}

// look asks the rules that concern the request.
func (ask *asking) look(id identifier.Identifier) (f found) {
	if ask.rules == nil {
		return f
	}
	for _, scope := range ask.scopes {
		ask.rules.index.each(scope, id, func(e entry) {
			r := &ask.rules.rules[e.owner]
			switch {
			case e.list == denyList && (f.deny == nil || e.owner < f.denier) && ask.concerns(r, denyList):
				f.deny, f.denier, f.denyPattern = r, e.owner, r.deny[e.pattern]
			case e.list == allowList && (f.allow == nil || e.owner < f.first || r.restricts()) && ask.concerns(r, allowList):
				if f.allow == nil || e.owner < f.first {
					f.allow, f.first = r, e.owner
				}
				ask.bound(r)
			}
		})
	}
	return f
}

// bound takes over how long a rule lets certificates be good.
func (ask *asking) bound(r *rule) {
	if r.MaxValidity > 0 && (ask.longer == 0 || r.MaxValidity < ask.longer) {
		ask.longer = r.MaxValidity
	}
	if len(r.KeyTypes) > 0 && !slices.Contains(ask.keyRules, r) {
		ask.keyRules = append(ask.keyRules, r)
	}
}

// concerns reports whether the rule is about such a request, now. While the
// profile is not known, what a rule allows to some is allowed, and what it
// denies to some is not denied: the order, which names one, is asked again.
func (ask *asking) concerns(r *rule, l list) bool {
	has := func(list []string, value string) bool { return len(list) == 0 || slices.Contains(list, value) }
	if !has(r.Doors, ask.Door) || !has(r.Accounts, ask.AccountID) || !has(r.Provisioners, ask.Provisioner) {
		return false
	}
	if !has(r.Profiles, ask.Profile) && (ask.Profile != "" || l == denyList) {
		return false
	}
	if len(r.Grants) > 0 && (ask.grant == nil || !slices.Contains(r.Grants, ask.grant.ID) && !slices.Contains(r.Grants, ask.grant.Name)) {
		return false
	}
	return len(r.windows) == 0 || slices.ContainsFunc(r.windows, func(w window) bool { return w.holds(ask.now) })
}

// badKey holds the key against the rules that bound it: those that allow one
// of the names, and those about all names.
func (ask *asking) badKey() (rule string, err error) {
	if ask.rules == nil {
		return "", nil
	}
	for _, scope := range ask.scopes {
		for _, number := range ask.rules.bare[scope] {
			if r := &ask.rules.rules[number]; ask.concerns(r, allowList) {
				ask.bound(r)
			}
		}
	}
	for _, r := range ask.keyRules {
		if ask.KeyType != "" && !takesKey(r.KeyTypes, ask.KeyType) {
			return ruleTitle(r.Name), failure.New(failure.BadCSR, "the key is %s; the %s takes %s",
				ask.KeyType, ruleTitle(r.Name), strings.Join(r.KeyTypes, ", "))
		}
	}
	return "", nil
}

func takesKey(types []string, kind string) bool {
	return slices.Contains(types, kind) || strings.HasPrefix(kind, "RSA-") && slices.Contains(types, "RSA")
}

// refusal sums up what is refused.
func refusal(parts []failure.Part) error {
	err := failure.New(failure.Rejected, "%q: %s", parts[0].Identifier.Value, parts[0].Public)
	if len(parts) > 1 {
		err.Public = fmt.Sprintf("%d identifiers are refused; the first, %s", len(parts), err.Public)
	}
	err.Parts = parts
	return err
}

// rulesOf lists the rules that allowed names, each once.
func rulesOf(verdicts []Verdict) string {
	var rules []string
	for _, verdict := range verdicts {
		if !slices.Contains(rules, verdict.Rule) {
			rules = append(rules, verdict.Rule)
		}
	}
	return strings.Join(rules, "; ")
}
