package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/limits"
)

// GrantSpec is what an operator grants to whoever has a key for external
// account binding. The zero value grants nothing and restricts nothing.
type GrantSpec struct {
	ID, Name     string
	Allow        []string // patterns; any of them refuses all else
	Deny         []string
	Preauthorize []string // names that need no proof, as far as they are allowed
	Profiles     []string // only these, and these also if they are restricted
	Labels       map[string]string
	MaxRate      limits.Rate // of orders, all accounts together
	Revoked      time.Time   // zero while it is in force
	Expires      time.Time   // zero for never
}

// Grant is a compiled GrantSpec. It is never changed.
type Grant struct {
	GrantSpec
	lists [3][]Pattern // by list
	index *index
}

// CompileGrant makes a grant ready. The error joins *SpecErrors with fields
// like "allow[0]".
func CompileGrant(spec GrantSpec) (*Grant, error) {
	g := &Grant{GrantSpec: spec, index: newIndex()}
	var found []error
	for l, field := range [...]string{allowList: "allow", denyList: "deny", preauthorizeList: "preauthorize"} {
		texts := [...][]string{spec.Allow, spec.Deny, spec.Preauthorize}[l]
		for i, text := range texts {
			p, err := ParsePattern(text)
			if err != nil {
				found = append(found, &SpecError{Field: fmt.Sprintf("%s[%d]", field, i), Problem: err.Error()})
				continue
			}
			g.index.add(0, p, entry{0, list(l), int32(len(g.lists[l]))})
			g.lists[l] = append(g.lists[l], p)
		}
	}
	if len(found) > 0 {
		return nil, errors.Join(found...)
	}
	return g, g.contradictions()
}

// contradictions refuses what a grant gives and takes at once.
func (g *Grant) contradictions() error {
	for l, field := range [...]string{allowList: "allow", preauthorizeList: "preauthorize"} {
		for i, p := range g.lists[l] {
			at := slices.IndexFunc(g.lists[denyList], func(d Pattern) bool { return d.covers(p) })
			if field != "" && at >= 0 {
				return &SpecError{Field: fmt.Sprintf("%s[%d]", field, i), Problem: fmt.Sprintf(
					"%s is denied by the same grant (%s), and deny wins; leave one of them out", p, g.lists[denyList][at])}
			}
		}
	}
	for i, p := range g.lists[preauthorizeList] {
		covered := func(a Pattern) bool { return a.covers(p) || p.covers(a) }
		if len(g.lists[allowList]) > 0 && !slices.ContainsFunc(g.lists[allowList], covered) {
			return &SpecError{Field: fmt.Sprintf("preauthorize[%d]", i), Problem: fmt.Sprintf(
				"%s is not among what the grant allows (%s); allow it, too", p, join(g.lists[allowList]))}
		}
	}
	return nil
}

func join(patterns []Pattern) string {
	texts := make([]string, len(patterns))
	for i, p := range patterns {
		texts[i] = p.text
	}
	if len(texts) > 5 {
		return strings.Join(texts[:5], ", ") + fmt.Sprintf(" and %d more", len(texts)-5)
	}
	return strings.Join(texts, ", ")
}

// title names the grant in answers.
func (g *Grant) title() string {
	if g.Name == "" {
		return fmt.Sprintf("grant %q", g.ID)
	}
	return fmt.Sprintf("grant %q", g.Name)
}

// holds returns the first pattern of a list that holds the name.
func (g *Grant) holds(l list, id identifier.Identifier) (Pattern, bool) {
	best := int32(-1)
	g.index.each(0, id, func(e entry) {
		if e.list == l && (best < 0 || e.pattern < best) {
			best = e.pattern
		}
	})
	if best < 0 {
		return Pattern{}, false
	}
	return g.lists[l][best], true
}

// Preauthorizes reports whether the grant stands for a proof of the name.
func (g *Grant) Preauthorizes(id identifier.Identifier, now time.Time) bool {
	_, found := g.holds(preauthorizeList, id)
	return found && g.usable(now) == nil
}

// usable reports, as a failure of kind Unauthorized, that the grant is not, or
// no longer, in force.
func (g *Grant) usable(now time.Time) error {
	switch {
	case !g.Revoked.IsZero():
		return failure.New(failure.Unauthorized, "the %s (%s) was revoked at %s; ask the CA's operator for another", g.title(), g.ID, rfc3339(g.Revoked))
	case !g.Expires.IsZero() && !now.Before(g.Expires):
		return failure.New(failure.Unauthorized, "the %s (%s) expired at %s; ask the CA's operator to extend it", g.title(), g.ID, rfc3339(g.Expires))
	}
	return nil
}

// permits reports whether the grant lets its accounts use a profile.
func (g *Grant) permits(profile string) error {
	if len(g.Profiles) == 0 || profile == "" || slices.Contains(g.Profiles, profile) {
		return nil
	}
	return failure.New(failure.BadProfile, "the %s does not have the profile %q; it has %s", g.title(), profile, strings.Join(g.Profiles, ", "))
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }
