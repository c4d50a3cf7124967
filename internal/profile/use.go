package profile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"chancery/internal/expr"
	"chancery/internal/failure"
	"chancery/internal/identifier"
)

// Self is the door through which the CA serves itself. No profile is closed to
// it.
const Self = "self"

// Doors returns the doors that there are, and the types of names that each can
// prove.
func Doors() map[string][]identifier.Type {
	return map[string][]identifier.Type{
		"acme":  {identifier.DNS, identifier.IP},
		"token": identifier.Types(),
	}
}

// checkUse refuses profiles that nobody may use.
func (c *compiler) checkUse(issuers []string) {
	spec, doors := &c.profile.Spec, Doors()
	usable := len(spec.Doors) == 0
	for i, door := range spec.Doors {
		types, known := doors[door]
		if !known {
			c.refuse(fmt.Sprintf("doors[%d]", i), "there is no door %q; write %s", door, strings.Join(slices.Sorted(maps.Keys(doors)), ", "))
			usable = true // once told, what follows from it is not
		}
		usable = usable || c.profile.servedBy(types)
	}
	if !usable {
		c.refuse("doors", "nobody may use this profile: these doors prove no names of the types %s; add a door, or a type to san.types", strings.Join(spec.SAN.Types, ", "))
	}
	if spec.Issuer != "" && !slices.Contains(issuers, spec.Issuer) {
		c.refuse("issuer", "there is no issuer %q; write one of %s, or leave it out", spec.Issuer, strings.Join(issuers, ", "))
	}
}

// servedBy reports whether a door that proves those types of names can ask for
// the profile.
func (p *Profile) servedBy(types []identifier.Type) bool {
	return slices.ContainsFunc(types, func(typ identifier.Type) bool { return slices.Contains(p.Spec.SAN.Types, string(typ)) })
}

// CheckUse returns a failure of kind BadProfile unless the profile may be used
// at the door by one of whom these facts are known. Doors call it early;
// ToBeSigned calls it again.
func (p *Profile) CheckUse(door string, facts *expr.Facts) error {
	switch {
	case door == Self:
		return nil
	case len(p.Spec.Doors) > 0 && !slices.Contains(p.Spec.Doors, door):
		return failure.New(failure.BadProfile, "the profile %s can't be asked for here; it is for %s", p.Name, strings.Join(p.Spec.Doors, ", "))
	case p.Spec.Restricted && (facts.Grant == nil || !slices.Contains(facts.Grant.Profiles, p.Name)):
		return failure.New(failure.BadProfile, "the profile %s is for accounts whose grant names it, and this one's does not; ask the operator", p.Name)
	}
	return nil
}
