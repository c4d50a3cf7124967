package profile

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"chancery/internal/identifier"
)

// attributeType is a type of attribute of the subject. Limits are the upper
// bounds of RFC 5280 appendix A.1, or X.520's, in characters.
type attributeType struct {
	name  string // of its field in Subject; "" for one that has none
	oid   string
	tag   casn1.Tag
	limit int
}

// attributeTypes lists the known types; those with a name are in the order of
// Subject's fields.
func attributeTypes() []attributeType {
	return []attributeType{
		{"country", "2.5.4.6", casn1.PrintableString, 2},
		{"province", "2.5.4.8", casn1.UTF8String, 128},
		{"locality", "2.5.4.7", casn1.UTF8String, 128},
		{"postal_code", "2.5.4.17", casn1.UTF8String, 40},
		{"street_address", "2.5.4.9", casn1.UTF8String, 128},
		{"organization", "2.5.4.10", casn1.UTF8String, 64},
		{"organizational_unit", "2.5.4.11", casn1.UTF8String, 64},
		{"serial_number", "2.5.4.5", casn1.PrintableString, 64},
		{"common_name", "2.5.4.3", casn1.UTF8String, maxCommonName},
		{"", "2.5.4.12", casn1.UTF8String, 64},      // title
		{"", "2.5.4.46", casn1.PrintableString, 64}, // dnQualifier
		{"", "2.5.4.65", casn1.UTF8String, 128},     // pseudonym
		{"", domainComponent, casn1.IA5String, 63},
		{"", "1.2.840.113549.1.9.1", casn1.IA5String, 255},         // emailAddress
		{"", "1.3.6.1.4.1.311.60.2.1.3", casn1.PrintableString, 2}, // jurisdictionCountry
		{"", "2.5.4.97", casn1.UTF8String, 256},                    // organizationIdentifier
	}
}

// attributeOf is the type of that OID, or one for texts.
func attributeOf(oid string) attributeType {
	types := attributeTypes()
	if i := slices.IndexFunc(types, func(t attributeType) bool { return t.oid == oid }); i >= 0 {
		return types[i]
	}
	return attributeType{oid: oid, tag: casn1.UTF8String, limit: 256}
}

// attribute is an attribute of the subjects that a profile makes.
type attribute struct {
	slot
	oid []byte // the content of its encoding
	tag casn1.Tag
}

func (c *compiler) compileSubject() {
	s, types := c.profile.Spec.Subject, attributeTypes()
	fields := [][]Text{
		s.Country, s.Province, s.Locality, s.PostalCode, s.StreetAddress, s.Organization, s.OrganizationalUnit,
		s.SerialNumber, s.CommonName,
	}
	c.compileExtra(s.Extra, true)
	for i, texts := range fields {
		if types[i].name == "serial_number" {
			c.compileExtra(s.Extra, false)
		}
		for _, slot := range c.slots("subject."+types[i].name, texts, types[i].check, types[i].sample()) {
			c.addAttribute(slot, types[i])
		}
	}
	c.profile.ownCommonName = len(s.CommonName) > 0
}

const domainComponent = "0.9.2342.19200300.100.1.25"

// compileExtra compiles the domain components, which come first in a subject,
// or the other attributes without a field.
func (c *compiler) compileExtra(extra []Attribute, domain bool) {
	for i, a := range extra {
		if (a.OID == domainComponent) != domain {
			continue
		}
		field, typ := fmt.Sprintf("subject.extra[%d]", i), attributeOf(a.OID)
		if typ.name != "" {
			c.refuse(field+".oid", "%s has a field of its own; write subject.%s", a.OID, typ.name)
			continue
		}
		if _, err := parseOID(a.OID); err != nil {
			c.refuse(field+".oid", "%s", err)
			continue
		}
		c.addAttribute(c.slot(field+".value", a.Value, typ.check, typ.sample()), typ)
	}
}

func (c *compiler) addAttribute(s slot, typ attributeType) {
	oid, _ := parseOID(typ.oid)
	content, err := oid.MarshalBinary()
	if err != nil {
		c.refuse(s.field, "%s", err)
	}
	c.profile.subject = append(c.profile.subject, attribute{s, content, typ.tag})
}

// check holds a value against its type.
func (t attributeType) check(value string) (string, error) {
	n := utf8.RuneCountInString(value)
	switch {
	case t.limit == 2 && (n != 2 || strings.Trim(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != ""):
		return "", errors.New("a country is two capital letters (ISO 3166-1)")
	case n > t.limit:
		return "", fmt.Errorf("the text has %d characters; at most %d are allowed here", n, t.limit)
	case strings.TrimSpace(value) != value:
		return "", errors.New("the text begins or ends with a space")
	}
	return value, checkString(t.tag, value)
}

func (t attributeType) sample() string {
	if t.limit == 2 {
		return "XX"
	}
	return "sample"
}

// maxText bounds texts that nothing else bounds, in octets.
const maxText = 4096

// checkString reports whether value can be an ASN.1 string with that tag.
func checkString(tag casn1.Tag, value string) error {
	switch {
	case value == "":
		return errors.New("the text is empty")
	case len(value) > maxText:
		return fmt.Errorf("the text has %d octets; at most %d are allowed", len(value), maxText)
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		return errors.New("the text has control characters or is not UTF-8")
	case tag == casn1.IA5String && strings.ContainsFunc(value, func(r rune) bool { return r > unicode.MaxASCII }):
		return errors.New("only ASCII is allowed here")
	case tag == casn1.PrintableString && strings.ContainsFunc(value, isUnprintable):
		return errors.New("only letters, digits, spaces and '()+,-./:=? are allowed here")
	}
	return nil
}

// isUnprintable reports whether a PrintableString can't hold r (X.680 §41.4).
func isUnprintable(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(" '()+,-./:=?", r))
}

func parseOID(text string) (x509.OID, error) {
	oid, err := x509.ParseOID(text)
	if err != nil || oid.String() != text {
		return x509.OID{}, fmt.Errorf("%.60q is no OID; write it like 1.3.6.1.4.1.55555.1", text)
	}
	return oid, nil
}

// addSubject writes the content of the Name of a certificate: each attribute
// in an RDN of its own. It reports whether it is empty.
func (p *Profile) addSubject(b *cryptobyte.Builder, e *evaluation, wish string, names []identifier.Identifier) (empty bool, err error) {
	empty = true
	for i := range p.subject {
		a := &p.subject[i]
		values, err := e.texts(&a.slot)
		if err != nil {
			return false, err
		}
		for _, value := range values {
			addAttribute(b, a.oid, a.tag, value)
			empty = false
		}
	}
	if wished := commonName(wish, names); wished != "" && !p.ownCommonName {
		addAttribute(b, []byte{0x55, 4, 3}, casn1.UTF8String, wished) // 2.5.4.3
		empty = false
	}
	return empty, nil
}

// subjectText is the subject as TBS has it.
func (p *Profile) subjectText(c content) string {
	if len(p.subject) == 0 { // a common name is a wish then, and one of the names
		return ""
	}
	var sequence cryptobyte.Builder
	sequence.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(c.subject) })
	var name pkix.RDNSequence
	if _, err := asn1.Unmarshal(sequence.BytesOrPanic(), &name); err != nil {
		return ""
	}
	text := name.String()
	if common, ok := strings.CutPrefix(text, "CN="); ok && slices.ContainsFunc(c.names, func(id identifier.Identifier) bool { return id.Value == common }) {
		return ""
	}
	return text
}

func addAttribute(b *cryptobyte.Builder, oid []byte, tag casn1.Tag, value string) {
	b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(oid) })
			b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes([]byte(value)) })
		})
	})
}

// maxCommonName is ub-common-name (RFC 5280 appendix A.1).
const maxCommonName = 64

// commonName is the name out of ids that the wish means, or "" if it means
// none of them or one that does not fit.
func commonName(wish string, ids []identifier.Identifier) string {
	if wish == "" {
		return ""
	}
	id, err := identifier.Guess(wish)
	if err != nil || !slices.Contains(ids, id) || len(id.Value) > maxCommonName {
		return ""
	}
	return id.Value
}
