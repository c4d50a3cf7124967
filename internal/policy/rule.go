package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Spec is policy as an operator writes it.
type Spec struct {
	DenyByDefault    bool // what no rule speaks of is refused
	RefuseSingle     bool // DNS names of one label are refused
	AllowUnderscores bool // DNS names may have underscores
	Rules            []RuleSpec
}

// RuleSpec is one rule as an operator writes it. A rule concerns the requests
// for which each of Doors, Provisioners, Grants, Accounts and Profiles is empty
// or has the request's, at the times it names.
type RuleSpec struct {
	Name         string // "" for "rule N", counted from 1
	Doors        []string
	Provisioners []string // of the token door; no other has any
	Grants       []string // by name or key identifier
	Accounts     []string
	Profiles     []string
	Allow        []string // patterns, see Pattern
	Deny         []string
	KeyTypes     []string      // only these keys, as in profiles; for what Allow holds, or all names
	MaxValidity  time.Duration // at most so long, of the same; 0 for no bound
	Times        []string      // see parseWindow; empty for always
}

// Rules are compiled rules. They are never changed.
type Rules struct {
	spec   Spec
	rules  []rule
	index  *index
	bare   map[int32][]int32 // by scope: rules without patterns, in order
	scopes map[string]int32  // by grant ("g" and its name or identifier), account ("a…") or provisioner ("p…"); 0 is everybody's
}

// rule is a RuleSpec ready to be asked.
type rule struct {
	RuleSpec
	allow, deny []Pattern
	windows     []window
}

// plain reports whether the rule concerns every request.
func (r *rule) plain() bool {
	return len(r.Doors)+len(r.Provisioners)+len(r.Grants)+len(r.Accounts)+len(r.Profiles)+len(r.windows) == 0
}

// restricts reports whether the rule bounds what it allows.
func (r *rule) restricts() bool { return len(r.KeyTypes) > 0 || r.MaxValidity > 0 }

// SpecError is a mistake in one field of a Spec: "rules[2].allow[0]".
type SpecError struct {
	Field   string
	Problem string
	Warning bool // the rules can be used all the same
}

func (e *SpecError) Error() string { return e.Field + ": " + e.Problem }

// Known says which doors and profiles there are. A nil list is not asked.
type Known struct {
	Doors    []string
	Profiles []string
}

// Compile checks rules and makes them ready. The error joins *SpecErrors, one
// for each mistake; if all of them are warnings, the rules are there beside.
func Compile(spec Spec, known Known) (*Rules, error) {
	c := &compiler{known: known, rules: &Rules{
		spec: spec, index: newIndex(), bare: map[int32][]int32{}, scopes: map[string]int32{},
	}}
	for i, r := range spec.Rules {
		c.field = fmt.Sprintf("rules[%d]", i)
		r.Name = cmp.Or(r.Name, fmt.Sprintf("rule %d", i+1))
		c.add(int32(i), r)
	}
	c.findDead()
	if slices.ContainsFunc(c.found, func(err error) bool { return !err.(*SpecError).Warning }) { //nolint:errorlint // they are what warn and refuse made
		return nil, errors.Join(c.found...)
	}
	return c.rules, errors.Join(c.found...)
}

// compiler is one run of Compile.
type compiler struct {
	known Known
	rules *Rules
	names map[string]int
	field string // of the rule being compiled
	found []error
}

func (c *compiler) refuse(field, format string, args ...any) {
	c.found = append(c.found, &SpecError{Field: field, Problem: fmt.Sprintf(format, args...)})
}

func (c *compiler) add(number int32, spec RuleSpec) {
	r := rule{RuleSpec: spec}
	c.checkName(int(number), spec.Name)
	c.checkScope(spec)
	r.allow = c.patterns("allow", spec.Allow)
	r.deny = c.patterns("deny", spec.Deny)
	for i, text := range spec.Times {
		w, err := parseWindow(text)
		if err != nil {
			c.refuse(fmt.Sprintf("%s.times[%d]", c.field, i), "%v", err)
		}
		r.windows = append(r.windows, w)
	}
	for i, p := range r.allow {
		if at := slices.IndexFunc(r.deny, func(d Pattern) bool { return d.covers(p) }); at >= 0 {
			c.refuse(fmt.Sprintf("%s.allow[%d]", c.field, i), "%s is denied by the same rule (%s), and deny wins; leave one of them out", p, r.deny[at])
		}
	}
	switch {
	case len(spec.Allow)+len(spec.Deny) == 0 && !r.restricts():
		c.refuse(c.field, "the rule %q says nothing; give it allow, deny, key_types or max_validity", r.Name)
	case len(r.allow) == 0 && len(r.deny) > 0 && r.restricts():
		c.refuse(c.field, "the rule %q denies and bounds keys or validity, which goes with allow; make two rules of it", r.Name)
	}
	c.rules.rules = append(c.rules.rules, r)
	c.enter(number, &r)
}

func (c *compiler) checkName(number int, name string) {
	if c.names == nil {
		c.names = map[string]int{}
	}
	if earlier, found := c.names[name]; found {
		c.refuse(c.field+".name", "rules[%d] has the name %q already; names tell rules apart", earlier, name)
	}
	c.names[name] = number
}

func (c *compiler) checkScope(spec RuleSpec) {
	check := func(field, what string, given, known []string) {
		for i, name := range given {
			if known != nil && !slices.Contains(known, name) {
				c.refuse(fmt.Sprintf("%s.%s[%d]", c.field, field, i), "there is no %s %q; there is %s", what, name, strings.Join(known, ", "))
			}
		}
	}
	check("doors", "door", spec.Doors, c.known.Doors)
	check("profiles", "profile", spec.Profiles, c.known.Profiles)
	switch {
	case len(spec.Provisioners) == 0:
	case len(spec.Accounts) > 0:
		c.refuse(c.field+".provisioners", "accounts are at the door acme, which has no provisioners, so this rule is never asked; make two rules of it")
	case len(spec.Doors) > 0 && !slices.Contains(spec.Doors, tokenDoor):
		c.refuse(c.field+".provisioners", "provisioners are at the door %s, which is not among doors, so this rule is never asked; add it there, or leave doors out", tokenDoor)
	}
}

func (c *compiler) patterns(field string, texts []string) []Pattern {
	patterns := make([]Pattern, 0, len(texts))
	for i, text := range texts {
		p, err := ParsePattern(text)
		if err != nil {
			c.refuse(fmt.Sprintf("%s.%s[%d]", c.field, field, i), "%v", err)
			continue
		}
		patterns = append(patterns, p)
	}
	return patterns
}

// enter puts the rule's patterns into the index, once for each scope.
func (c *compiler) enter(number int32, r *rule) {
	for _, scope := range c.scopesOf(r) {
		if len(r.allow)+len(r.deny) == 0 {
			c.rules.bare[scope] = append(c.rules.bare[scope], number)
		}
		for i, p := range r.allow {
			c.rules.index.add(scope, p, entry{number, allowList, int32(i)})
		}
		for i, p := range r.deny {
			c.rules.index.add(scope, p, entry{number, denyList, int32(i)})
		}
	}
}

func (c *compiler) scopesOf(r *rule) []int32 {
	kind, members := "a", r.Accounts
	if len(members) == 0 {
		kind, members = "g", r.Grants
	}
	if len(members) == 0 {
		kind, members = "p", r.Provisioners
	}
	if len(members) == 0 {
		return []int32{0}
	}
	var scopes []int32
	for _, member := range members {
		scope, found := c.rules.scopes[kind+member]
		if !found {
			scope = int32(len(c.rules.scopes) + 1)
			c.rules.scopes[kind+member] = scope
		}
		if !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

// findDead looks for patterns that can never decide anything: allowed where
// everybody is denied, or named by an earlier rule in any case. It also drops
// them from the index, so that what is said often is not looked at often.
func (c *compiler) findDead() {
	always := map[list]map[nameKey]int32{allowList: {}, denyList: {}}
	nets := map[list]map[netKey]int32{allowList: {}, denyList: {}}
	for i := range c.rules.rules {
		r := &c.rules.rules[i]
		if !r.plain() {
			continue
		}
		note := func(l list, patterns []Pattern) {
			for _, p := range patterns {
				if _, found := always[l][keyOf(p)]; !found && p.shape != ipNetwork {
					always[l][keyOf(p)] = int32(i)
				}
				if _, found := nets[l][netKey{0, p.net}]; !found && p.shape == ipNetwork {
					nets[l][netKey{0, p.net}] = int32(i)
				}
			}
		}
		note(denyList, r.deny)
		if !r.restricts() {
			note(allowList, r.allow)
		}
	}
	for i := range c.rules.rules {
		for j, p := range c.rules.rules[i].allow {
			field := fmt.Sprintf("rules[%d].allow[%d]", i, j)
			if by, found := covering(p, always[denyList], nets[denyList]); found && by != int32(i) {
				c.refuse(field, "%s can never be allowed: the rule %q denies it, and deny wins; narrow that rule, or leave this out", p, c.rules.rules[by].Name)
			} else if by, found := covering(p, always[allowList], nets[allowList]); found && by < int32(i) && !c.rules.rules[i].restricts() {
				c.found = append(c.found, &SpecError{Field: field, Warning: true, Problem: fmt.Sprintf(
					"%s is never asked: the earlier rule %q allows it to everybody", p, c.rules.rules[by].Name)})
			}
		}
	}
	c.rules.prune()
}

func keyOf(p Pattern) nameKey { return nameKey{0, p.shape, p.key} }

// covering finds the first rule, of those kept by pattern, with one that covers p.
func covering(p Pattern, names map[nameKey]int32, nets map[netKey]int32) (by int32, found bool) {
	try := func(rule int32, ok bool) {
		if ok && (!found || rule < by) {
			by, found = rule, true
		}
	}
	look := func(s shape, key string) { rule, ok := names[nameKey{0, s, key}]; try(rule, ok) }
	look(p.shape, p.key)
	switch p.shape {
	case ipNetwork:
		for bits := range p.net.Bits() + 1 {
			network, _ := p.net.Addr().Prefix(bits)
			rule, ok := nets[netKey{0, network}]
			try(rule, ok)
		}
	case dnsExact, dnsChild, dnsBelow:
		above := p.key
		if p.shape == dnsExact {
			above = parent(p.key)
			look(dnsChild, above)
		}
		for ; above != ""; above = parent(above) {
			look(dnsBelow, above)
		}
		look(dnsBelow, "")
	case emailExact:
		_, domain, _ := strings.Cut(p.key, "@")
		look(emailDomain, domain)
	}
	return by, found
}

// prune drops the entries that can only repeat an earlier one of their kind:
// behind one that always decides, and behind one under the same conditions.
func (x *Rules) prune() {
	for key, entries := range x.index.names {
		x.index.names[key] = x.pruned(entries)
	}
	for key, entries := range x.index.nets {
		x.index.nets[key] = x.pruned(entries)
	}
}

func (x *Rules) pruned(entries []entry) []entry {
	if len(entries) == 1 {
		return entries
	}
	type condition struct {
		list list
		text string
	}
	decided := map[condition]bool{}
	return slices.DeleteFunc(entries, func(e entry) bool {
		r := &x.rules[e.owner]
		this := condition{list: e.list}
		if len(r.Doors)+len(r.Profiles)+len(r.windows) > 0 || len(r.Grants) > 0 && len(r.Accounts)+len(r.Provisioners) > 0 {
			this.text = fmt.Sprintf("%q", [][]string{r.Doors, r.Profiles, r.Times, r.Accounts, r.Grants, r.Provisioners})
		}
		repeats := decided[this] || decided[condition{list: e.list}]
		decided[this] = true
		return repeats && !(e.list == allowList && r.restricts())
	})
}
