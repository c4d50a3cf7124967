package profile

import (
	"fmt"
	"slices"
	"strings"

	"chancery/internal/failure"
	"chancery/internal/identifier"
)

// addedNames are subject alternative names of one type that a profile adds.
type addedNames struct {
	typ   identifier.Type
	slots []slot
}

func (c *compiler) compileSAN() {
	san := c.profile.Spec.SAN
	for i, name := range san.Types {
		if !slices.Contains(identifier.Types(), identifier.Type(name)) {
			c.refuse(fmt.Sprintf("san.types[%d]", i), "%q is no type of name; write dns, ip, email or uri", name)
		}
	}
	for _, field := range []struct {
		name   string
		typ    identifier.Type
		texts  []Text
		sample string
	}{
		{"dns", identifier.DNS, san.DNS, "sample.internal"},
		{"ips", identifier.IP, san.IPs, "10.0.0.2"},
		{"emails", identifier.Email, san.Emails, "sample@sample.internal"},
		{"uris", identifier.URI, san.URIs, "spiffe://sample.internal/sample"},
	} {
		slots := c.slots("san."+field.name, field.texts, normalOf(field.typ), field.sample)
		if slots != nil {
			c.profile.added = append(c.profile.added, addedNames{field.typ, slots})
		}
	}
	if san.OmitIdentifiers && c.profile.added == nil && c.profile.subject == nil {
		c.refuse("san.omit_identifiers", "certificates would have neither names nor a subject; add some, or leave this out")
	}
}

func normalOf(typ identifier.Type) func(string) (string, error) {
	return func(text string) (string, error) {
		id, err := identifier.Parse(typ, text)
		return id.Value, err
	}
}

// CheckNames returns a failure of kind Unsupported unless the profile takes
// names of such types. Doors call it early; ToBeSigned calls it again.
func (p *Profile) CheckNames(asked []identifier.Identifier) error {
	for _, id := range asked {
		if !slices.Contains(p.Spec.SAN.Types, string(id.Type)) {
			return failure.New(failure.Unsupported, "the profile %s takes no names like %s; it takes those of the types %s",
				p.Name, id, strings.Join(p.Spec.SAN.Types, ", "))
		}
	}
	return nil
}

// names are the subject alternative names of a certificate.
func (p *Profile) names(e *evaluation, asked []identifier.Identifier) ([]identifier.Identifier, error) {
	if err := p.CheckNames(asked); err != nil {
		return nil, err
	}
	names := asked
	if p.Spec.SAN.OmitIdentifiers {
		names = nil
	}
	if p.added == nil {
		return names, p.checkSVID(e, names)
	}
	names = slices.Clone(names)
	for i := range p.added {
		for j := range p.added[i].slots {
			values, err := e.texts(&p.added[i].slots[j])
			if err != nil {
				return nil, err
			}
			for _, value := range values {
				if id := (identifier.Identifier{Type: p.added[i].typ, Value: value}); !slices.Contains(names, id) {
					names = append(names, id)
				}
			}
		}
	}
	return names, p.checkSVID(e, names)
}

// needsNames reports whether a certificate must have alternative names: unless
// it is a CA's, or the requester's are left out in favour of the subject.
func (p *Profile) needsNames() bool {
	return !p.Spec.BasicConstraints.CA && !p.Spec.SAN.OmitIdentifiers
}
