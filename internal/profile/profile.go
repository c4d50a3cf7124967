// Package profile says what certificates look like. A Profile is compiled once
// from its configuration, with all its mistakes found then, and writes
// complete to-be-signed certificates: what a requester wishes is either in
// them as it was wished, or refused.
//
// It does not decide who may have which name, does not judge the quality of
// keys, and signs nothing.
package profile

import (
	"errors"
	"fmt"
	"regexp"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"chancery/internal/duration"
	"chancery/internal/expr"
)

// Profile is a compiled profile. It may be used from many goroutines; nobody
// may change it.
type Profile struct {
	Name string
	Spec Spec // with its defaults filled in

	// The extensions that depend on nothing but the profile and the key's
	// class: key usage, extended key usage, basic constraints; nil for classes
	// it does not certify.
	fixed [classes][]byte

	// What the other extensions and the subject are made of.
	subject       []attribute
	ownCommonName bool // the common name is the profile's to say
	added         []addedNames
	constraints   []subtree
	further       []byte // extensions that are the same in all certificates
	custom        []custom
	dynamic       bool // there are expressions
}

// FieldError is a mistake in a profile.
type FieldError struct {
	Field   string // its place in the configuration: "profiles.NAME.validity.longest"
	Problem string // what is wrong and what to do about it
}

// Error is FIELD: PROBLEM.
func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// Compile checks the spec of the profile name and makes it ready for use.
// issuers are the names that spec.Issuer can have. The error joins one
// *FieldError for each mistake.
func Compile(name string, spec Spec, issuers ...string) (*Profile, error) {
	p := &Profile{Name: name, Spec: spec.WithDefaults(name)}
	c := compiler{profile: p}
	c.checkName()
	c.checkValidity()
	c.compileExtensions(c.keyClasses())
	c.compileSubject()
	c.compileSAN()
	c.compileSVID()
	c.compileCA()
	c.compileFurther()
	c.compileCustom()
	c.checkUse(issuers)
	if c.mistakes != nil {
		return nil, errors.Join(c.mistakes...)
	}
	return p, nil
}

// compiler collects the mistakes of one profile.
type compiler struct {
	profile  *Profile
	mistakes []error
	env      *expr.Env // nil before the first expression
}

// refuse notes a mistake in field, "" for the profile itself.
func (c *compiler) refuse(field, format string, args ...any) {
	path := "profiles." + c.profile.Name
	if field != "" {
		path += "." + field
	}
	c.mistakes = append(c.mistakes, &FieldError{path, fmt.Sprintf(format, args...)})
}

// checkName keeps names to what needs no escaping in a URL, for directories
// are named for profiles.
func (c *compiler) checkName() {
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`).MatchString(c.profile.Name) {
		c.refuse("", "a profile's name has at most 64 letters, digits, dots, hyphens and underscores, and begins with a letter or digit")
	}
}

const (
	maxValidity = 100 * 365 * day // beyond it something is mistyped
	maxBackdate = 30 * day
)

func (c *compiler) checkValidity() {
	v := c.profile.Spec.Validity
	switch {
	case v.Longest > maxValidity:
		c.refuse("validity.longest", "%s is more than %s; make it less", v.Longest, maxValidity)
	case v.Longest < v.Default:
		c.refuse("validity.longest", "%s is less than validity.default, %s; make it at least as long", v.Longest, v.Default)
	}
	if v.Shortest > v.Default {
		c.refuse("validity.shortest", "%s is more than validity.default, %s; make it at most as long", v.Shortest, v.Default)
	}
	for _, field := range []struct {
		name  string
		value duration.Duration
	}{{"validity.default", v.Default}, {"validity.shortest", v.Shortest}} {
		if field.value.Std() < minValidity {
			c.refuse(field.name, "%s is too short; make it at least %s", field.value, minValidity)
		}
	}
	if c.profile.Spec.Backdate > maxBackdate {
		c.refuse("backdate", "%s is more than %s; make it less", c.profile.Spec.Backdate, maxBackdate)
	}
}

// keyClasses finds which classes of keys the profile certifies.
func (c *compiler) keyClasses() (wanted [classes]bool) {
	for i, kind := range c.profile.Spec.KeyTypes {
		class, ok := classOf(kind)
		if !ok {
			c.refuse(fmt.Sprintf("key_types[%d]", i), "%q is no type of key; write P-256, P-384, P-521, Ed25519, RSA or a size from RSA-%d to RSA-%d", kind, minRSA, maxRSA)
			continue
		}
		wanted[class] = true
	}
	return wanted
}

func (c *compiler) compileExtensions(wanted [classes]bool) {
	usages, err := parseUsages(c.profile.Spec.KeyUsages, c.profile.Spec.BasicConstraints.CA)
	if err != nil {
		c.refuse("key_usages", "%s", err)
		return
	}
	purposes, critical, err := parsePurposes(c.profile.Spec.ExtendedKeyUsages)
	if err != nil {
		c.refuse("extended_key_usages", "%s", err)
		return
	}
	for class := range classes {
		if !wanted[class] {
			continue
		}
		served := usages & usagesOf(class)
		if served&keyAgreement == 0 {
			served &^= encipherOnly | decipherOnly
		}
		if served == 0 {
			c.refuse("key_usages", "%s keys can serve none of these; add digitalSignature, or leave the keys out of key_types", class)
		}
		c.profile.fixed[class] = c.fixedExtensions(served, purposes, critical)
	}
}

func (c *compiler) fixedExtensions(usages usageBits, purposes []byte, critical bool) []byte {
	var b cryptobyte.Builder
	addExtension(&b, extKeyUsage, true, func(b *cryptobyte.Builder) { b.AddBytes(usages.encode()) })
	if purposes != nil {
		addExtension(&b, extExtendedKeyUsage, critical, func(b *cryptobyte.Builder) { b.AddBytes(purposes) })
	}
	constraints := c.profile.Spec.BasicConstraints
	addExtension(&b, extBasicConstraints, true, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			if constraints.CA { // false is the default, which DER leaves out
				b.AddASN1Boolean(true)
				b.AddASN1Int64(int64(constraints.PathLength))
			}
		})
	})
	return b.BytesOrPanic()
}
