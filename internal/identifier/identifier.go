// Package identifier holds the names a certificate can carry, each in one
// normal form that the whole program uses: in orders, in the store, in policy
// and in certificates. It decides whether a name is well formed, never whether
// somebody may have it.
package identifier

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

// Type is the type of an identifier: an ACME one (RFC 8555 §9.7.7) where there
// is one for such names.
type Type string

// The types. Parse refuses all others with ErrUnsupported.
const (
	DNS   Type = "dns"   // RFC 8555 §7.1.4
	IP    Type = "ip"    // RFC 8738
	Email Type = "email" // RFC 8823 §3
	URI   Type = "uri"   // no ACME type; SPIFFE IDs are URIs
)

// Types returns all types, in the order in which certificates list names.
func Types() []Type { return []Type{DNS, IP, Email, URI} }

// ErrUnsupported is wrapped by Parse's error for a type it does not know.
var ErrUnsupported = errors.New("unsupported identifier type")

// errAddress is wrapped by the error about a DNS name that looks like an address.
var errAddress = errors.New("the name reads as an IP address")

// Identifier is a name in its normal form. Values made by Parse can be
// compared with == and used as map keys.
type Identifier struct {
	Type  Type   `json:"type"`
	Value string `json:"value"`
}

// Parse checks a name and brings it to its normal form: a DNS name to lower
// case, an address to itself, for other spellings of it are refused (RFC 8738
// §3), the domain of an email address and scheme and host of a URI to lower
// case. The error says what is wrong and, where that is plain, what would be
// right.
func Parse(typ Type, value string) (Identifier, error) {
	switch typ {
	case DNS:
		name, err := parseDNS(value)
		return Identifier{DNS, name}, err
	case IP:
		addr, err := parseIP(value)
		return Identifier{IP, addr}, err
	case Email:
		address, err := parseEmail(value)
		return Identifier{Email, address}, err
	case URI:
		uri, err := parseURI(value)
		return Identifier{URI, uri}, err
	default:
		return Identifier{}, fmt.Errorf("%w %.40q: there are \"dns\", \"ip\", \"email\" and \"uri\"", ErrUnsupported, typ)
	}
}

// ParseLoose is Parse for those who ask policy about the name: it also takes
// DNS names with underscores, which no host has, but services and some devices.
func ParseLoose(typ Type, value string) (Identifier, error) {
	id, err := Parse(typ, value)
	if err == nil || typ != DNS || !strings.Contains(value, "_") {
		return id, err
	}
	if _, err := parseDNS(strings.ReplaceAll(value, "_", "x")); err != nil {
		return id, err
	}
	return Identifier{DNS, lowerASCII(value)}, nil
}

// Guess parses what a person typed: an address when it reads as one (in any
// spelling), a DNS name otherwise.
func Guess(text string) (Identifier, error) {
	if addr, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return Parse(IP, addr.Unmap().String())
	}
	return Parse(DNS, strings.TrimSuffix(text, "."))
}

// ParseText reads a name as people write it: with its type, as in
// email:a@corp.example and uri:spiffe://corp.example/a, or an address or a DNS
// name, which may have underscores, as such.
func ParseText(text string) (Identifier, error) {
	id, err := parseText(text)
	if errors.Is(err, errAddress) {
		err = fmt.Errorf("%w, and is none as it stands; write an address in full and without a type, as in 10.0.0.1", errAddress)
	}
	return id, err
}

func parseText(text string) (Identifier, error) {
	for _, typ := range Types() {
		if value, found := strings.CutPrefix(text, string(typ)+":"); found {
			return ParseLoose(typ, value)
		}
	}
	if id, err := Guess(text); err == nil {
		return id, nil
	}
	return ParseLoose(DNS, strings.TrimSuffix(text, "."))
}

// String is TYPE:VALUE.
func (id Identifier) String() string { return string(id.Type) + ":" + id.Value }

// IsWildcard reports whether the identifier is a DNS name that begins with "*.".
func (id Identifier) IsWildcard() bool {
	return id.Type == DNS && strings.HasPrefix(id.Value, "*.")
}

// Base is the identifier without its wildcard label: what an authorization is
// for (RFC 8555 §7.1.4).
func (id Identifier) Base() Identifier {
	if id.IsWildcard() {
		id.Value = id.Value[2:]
	}
	return id
}

// Addr is the address of an IP identifier, and the zero Addr of any other.
func (id Identifier) Addr() netip.Addr {
	if id.Type != IP {
		return netip.Addr{}
	}
	addr, _ := netip.ParseAddr(id.Value)
	return addr
}

// Compare orders identifiers by type, then value.
func Compare(a, b Identifier) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Value, b.Value))
}

// Normalize sorts ids and drops repetitions, in place, so that equal sets of
// identifiers are equal slices.
func Normalize(ids []Identifier) []Identifier {
	slices.SortFunc(ids, Compare)
	return slices.Compact(ids)
}

const (
	maxName  = 253 // RFC 1035 §2.3.4, in text without the final dot
	maxLabel = 63
)

// parseDNS checks a name against RFC 1123 §2.1 with the narrower rules of
// certificates: no final dot, no underscore, and no name that could be read
// as an address.
func parseDNS(value string) (string, error) {
	name := lowerASCII(value)
	base := strings.TrimPrefix(name, "*.")
	switch {
	case name == "":
		return "", errors.New("the name is empty")
	case len(name) > maxName:
		return "", fmt.Errorf("the name has %d characters; at most %d are allowed", len(name), maxName)
	case strings.Contains(base, "*"):
		return "", errors.New("a wildcard must be the whole first label, as in *.example.corp")
	case strings.HasSuffix(base, "."):
		return "", errors.New("the name ends in a dot; leave it out")
	}
	labels := strings.Split(base, ".")
	for _, label := range labels {
		if err := checkLabel(label); err != nil {
			return "", err
		}
	}
	if last := labels[len(labels)-1]; isNumeric(last) {
		return "", fmt.Errorf("%w; use an identifier of type \"ip\"", errAddress)
	}
	return name, nil
}

func checkLabel(label string) error {
	if label == "" {
		return errors.New("the name has an empty label")
	}
	if len(label) > maxLabel {
		return fmt.Errorf("a label has %d characters; at most %d are allowed", len(label), maxLabel)
	}
	for i := range len(label) {
		c := label[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-':
		case c >= 0x80:
			return errors.New("the name has characters outside ASCII; use its A-labels (xn--…)")
		default:
			return fmt.Errorf("the name has the character %q; allowed are letters, digits and hyphens", c)
		}
	}
	if label[0] == '-' || label[len(label)-1] == '-' {
		return errors.New("a label begins or ends with a hyphen")
	}
	if len(label) >= 4 && label[2:4] == "--" {
		return checkALabel(label)
	}
	return nil
}

// checkALabel accepts an A-label only if it is what its own U-label encodes to
// (RFC 5891 §5.4), and no other label with hyphens in third and fourth place.
func checkALabel(label string) error {
	if !strings.HasPrefix(label, "xn--") {
		return fmt.Errorf("the label %q has hyphens in third and fourth place but is no A-label", label)
	}
	unicode, err := idna.Registration.ToUnicode(label)
	if err != nil {
		return fmt.Errorf("the label %q is no valid A-label", label)
	}
	if back, err := idna.Registration.ToASCII(unicode); err != nil || back != label {
		return fmt.Errorf("the label %q is no valid A-label", label)
	}
	return nil
}

func parseIP(value string) (string, error) {
	addr, err := netip.ParseAddr(value)
	switch {
	case err != nil:
		return "", fmt.Errorf("%.60q is no IP address", value)
	case addr.Zone() != "":
		return "", errors.New("the address has a zone; leave it out")
	case addr.Is4In6():
		return "", fmt.Errorf("the address is an IPv4 address mapped into IPv6; write %s", addr.Unmap())
	case addr.String() != value:
		return "", fmt.Errorf("the address is not in its normal form; write %s", addr)
	case addr.IsUnspecified(), addr.IsMulticast():
		return "", errors.New("the address is no host's")
	}
	return value, nil
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func isNumeric(label string) bool {
	return strings.Trim(label, "0123456789") == "" ||
		strings.HasPrefix(label, "0x") && strings.Trim(label[2:], "0123456789abcdef") == ""
}
