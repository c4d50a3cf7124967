package profile

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"chancery/internal/expr"
)

// custom is an extension that a profile's configuration spells out.
type custom struct {
	oid      x509.OID
	critical bool
	value    typed
}

// typed is a value with its ASN.1 type.
type typed struct {
	field   string
	der     []byte                           // of a literal
	program *expr.Program                    // of an expression
	encode  func(result any) ([]byte, error) // of what the expression gives
	sample  []byte                           // stands for it in samples
	members []typed                          // of a sequence
}

// ownExtensions are those that have settings of their own.
func ownExtensions() map[string]string {
	return map[string]string{
		"2.5.29.14": "", "2.5.29.35": "", "2.5.29.15": "key_usages", "2.5.29.17": "san", "2.5.29.19": "basic_constraints",
		"2.5.29.30": "name_constraints", "2.5.29.31": "urls.crl", "2.5.29.32": "policies", "2.5.29.37": "extended_key_usages",
		"2.5.29.56": "no_revocation", "1.3.6.1.5.5.7.1.1": "urls.issuer and urls.ocsp", tlsFeature: "must_staple",
	}
}

func (c *compiler) compileCustom() {
	var seen []string
	for i, extension := range c.profile.Spec.Extensions {
		field := fmt.Sprintf("extensions[%d]", i)
		oid, err := parseOID(extension.OID)
		instead, own := ownExtensions()[extension.OID]
		switch {
		case err != nil:
			c.refuse(field+".oid", "%s", err)
		case own && instead == "":
			c.refuse(field+".oid", "every certificate has this extension; leave it out")
		case own:
			c.refuse(field+".oid", "this extension has a setting of its own; use %s", instead)
		case slices.Contains(seen, extension.OID):
			c.refuse(field+".oid", "%s is there twice; a certificate has each extension once (RFC 5280 §4.2)", extension.OID)
		}
		seen = append(seen, extension.OID)
		c.profile.custom = append(c.profile.custom, custom{oid, extension.Critical, c.typed(field+".value", extension.Value)})
	}
}

// typed compiles a value.
func (c *compiler) typed(field string, value Typed) typed {
	var found []typed
	text := func(name string, text *Text, kind expr.Kind, encode func(any) ([]byte, error), sample any) {
		if text != nil {
			found = append(found, compileTyped(c, field+"."+name, *text, kind, encode, sample))
		}
	}
	text("utf8", value.UTF8, expr.Texts, encodeString(casn1.UTF8String), "sample")
	text("ia5", value.IA5, expr.Texts, encodeString(casn1.IA5String), "sample")
	text("printable", value.Printable, expr.Texts, encodeString(casn1.PrintableString), "sample")
	text("oid", value.OID, expr.Texts, encodeOID, "1.2.3")
	text("bytes", value.Bytes, expr.Bytes, encodeBytes, "00")
	text("der", value.DER, expr.Bytes, encodeDER, "0500")
	if value.Int != nil {
		found = append(found, compileTyped(c, field+".int", *value.Int, expr.Int, encodeInt, 1))
	}
	if value.Bool != nil {
		found = append(found, compileTyped(c, field+".bool", *value.Bool, expr.Bool, encodeBool, true))
	}
	if value.Sequence != nil {
		sequence := typed{members: []typed{}}
		for i, member := range value.Sequence {
			sequence.members = append(sequence.members, c.typed(fmt.Sprintf("%s.sequence[%d]", field, i), member))
		}
		found = append(found, sequence)
	}
	if len(found) != 1 {
		c.refuse(field, "there are %d values; write one of utf8, ia5, printable, int, bool, bytes, oid, sequence, der", len(found))
		return typed{}
	}
	return found[0]
}

func compileTyped[T any](c *compiler, field string, value expr.Value[T], kind expr.Kind, encode func(any) ([]byte, error), sample any) typed {
	t := typed{field: field, encode: encode}
	if value.IsExpression() {
		t.sample, _ = encode(sample)
		t.program = c.program(field, value.Expression, kind, func(result any) error {
			_, err := encode(result)
			return err
		})
		return t
	}
	var err error
	if t.der, err = encode(value.Literal); err != nil {
		c.refuse(field, "%s", err)
	}
	return t
}

// write appends the value's encoding.
func (t *typed) write(b *cryptobyte.Builder, e *evaluation) error {
	switch {
	case t.members != nil:
		var inner cryptobyte.Builder
		for i := range t.members {
			if err := t.members[i].write(&inner, e); err != nil {
				return err
			}
		}
		content, err := inner.Bytes()
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(content) })
		return err
	case t.program == nil:
		b.AddBytes(t.der)
		return nil
	}
	result, err := t.program.Eval(&e.input)
	var der []byte
	if err == nil {
		der, err = t.encode(result)
	}
	if err != nil && e.sample {
		der, err = t.sample, nil
	}
	b.AddBytes(der)
	if err != nil {
		return e.refuse(t.field, t.program, err)
	}
	return nil
}

func (p *Profile) addCustom(b *cryptobyte.Builder, e *evaluation) error {
	for i := range p.custom {
		extension := &p.custom[i]
		var value cryptobyte.Builder
		if err := extension.value.write(&value, e); err != nil {
			return err
		}
		content, err := value.Bytes()
		if err != nil {
			return err
		}
		addExtensionOID(b, extension.oid, extension.critical, func(b *cryptobyte.Builder) { b.AddBytes(content) })
	}
	return nil
}

// one is the single text out of a literal or the result of an expression.
func one(result any) (string, error) {
	switch result := result.(type) {
	case string:
		return result, nil
	case []string:
		if len(result) == 1 {
			return result[0], nil
		}
		return "", fmt.Errorf("there are %d texts; one is needed", len(result))
	}
	return "", fmt.Errorf("%T is no text", result)
}

func encodeString(tag casn1.Tag) func(any) ([]byte, error) {
	return func(result any) ([]byte, error) {
		text, err := one(result)
		if err == nil {
			err = checkString(tag, text)
		}
		if err != nil {
			return nil, err
		}
		return element(tag, []byte(text))
	}
}

func encodeOID(result any) ([]byte, error) {
	text, err := one(result)
	if err != nil {
		return nil, err
	}
	oid, err := parseOID(text)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	addOID(&b, oid)
	return b.Bytes()
}

func encodeInt(result any) ([]byte, error) {
	number, _ := result.(int64)
	if literal, ok := result.(int); ok {
		number = int64(literal)
	}
	var b cryptobyte.Builder
	b.AddASN1Int64(number)
	return b.Bytes()
}

func encodeBool(result any) ([]byte, error) {
	truth, _ := result.(bool)
	var b cryptobyte.Builder
	b.AddASN1Boolean(truth)
	return b.Bytes()
}

func encodeBytes(result any) ([]byte, error) {
	octets, err := octetsOf(result)
	if err != nil {
		return nil, err
	}
	return element(casn1.OCTET_STRING, octets)
}

// encodeDER wants exactly one element, so that what it is put into parses.
func encodeDER(result any) ([]byte, error) {
	octets, err := octetsOf(result)
	if err != nil {
		return nil, err
	}
	var raw asn1.RawValue
	if rest, err := asn1.Unmarshal(octets, &raw); err != nil || len(rest) > 0 {
		return nil, errors.New("the bytes are not one DER value")
	}
	return octets, nil
}

func octetsOf(result any) (octets []byte, err error) {
	switch result := result.(type) {
	case []byte:
		octets = result
	case string:
		if text, is64 := strings.CutPrefix(result, "base64:"); is64 {
			octets, err = base64.StdEncoding.Strict().DecodeString(text)
		} else {
			octets, err = hex.DecodeString(result)
		}
		if err != nil {
			return nil, fmt.Errorf("%.60q is not bytes; write them in hexadecimal, or as base64 after \"base64:\"", result)
		}
	}
	if len(octets) > maxText {
		return nil, fmt.Errorf("there are %d octets; at most %d are allowed", len(octets), maxText)
	}
	return octets, nil
}

func element(tag casn1.Tag, content []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(content) })
	return b.Bytes()
}
