package form

import (
	"encoding/hex"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"chancery/internal/identifier"
)

// outside is the domain of names that are no domain names. It is above all
// others in their order.
const outside = "~"

// Place is where a name is among the names of services: the domain it is in,
// turned around and ending in a dot, so that all below it are beside each other,
// and its first label. www.a.corp is www in corp.a. and *.corp is * in corp.
// Names that are no domain names are in ~.
func Place(name string) (domain, label string) {
	if _, err := netip.ParseAddr(name); err == nil || strings.ContainsAny(name, ":@") {
		return outside, name
	}
	label, parent, found := strings.Cut(name, ".")
	if !found {
		return "", name
	}
	return turned(parent), label
}

// turned is a.corp as corp.a.
func turned(domain string) string {
	labels := strings.Split(domain, ".")
	slices.Reverse(labels)
	return strings.Join(labels, ".") + "."
}

// Span is what a pattern selects by the places of names: those in the domains
// at From or above it and below To; without To, those in the domain From; and of
// these the one with a label, if it is exact.
type Span struct {
	From, To string
	Label    string
	Exact    bool
}

// Pattern is the span of a pattern: *.d for the names in d, **.d for those in or
// below it, ** for all domain names, and else the name that it is.
func Pattern(pattern string) Span {
	if pattern == "**" {
		return Span{To: outside}
	}
	if below, ok := strings.CutPrefix(pattern, "**."); ok {
		from := turned(below)
		return Span{From: from, To: from[:len(from)-1] + "/"} // which follows the dot
	}
	if in, ok := strings.CutPrefix(pattern, "*."); ok {
		return Span{From: turned(in)}
	}
	return Exactly(pattern)
}

// Exactly is the span of one name.
func Exactly(name string) Span {
	domain, label := Place(name)
	return Span{From: domain, Label: label, Exact: true}
}

// OfPattern reports whether a name is in the pattern's span.
func OfPattern(name, pattern string) bool {
	domain, _ := Place(name)
	below, deep := strings.CutPrefix(pattern, "**")
	in, shallow := strings.CutPrefix(pattern, "*.")
	switch {
	case domain != outside && deep && (below == "" || below[0] == '.'):
		return strings.HasSuffix(name, below)
	case domain != outside && shallow:
		return domain == turned(in)
	default:
		return name == pattern
	}
}

// Above are the domain names above a name, the nearest first; none for other
// names.
func Above(name identifier.Identifier) iter.Seq[string] {
	return func(yield func(string) bool) {
		_, above, _ := strings.Cut(name.Base().Value, ".")
		for ; above != "" && name.Type == identifier.DNS; _, above, _ = strings.Cut(above, ".") {
			if !yield(above) {
				return
			}
		}
	}
}

// Lines is the text in which a service keeps its names, and another for their
// types: one a line, with a line's end before the first name as well, so that a
// whole name can be looked for.
func Lines(ids []identifier.Identifier) (names, types string) {
	names = "\n"
	for _, id := range ids {
		names += id.Value + "\n"
		types += string(id.Type) + "\n"
	}
	return names, types
}

// Identifiers undoes Lines.
func Identifiers(names, types string) (ids []identifier.Identifier) {
	typ := strings.Split(types, "\n")
	for name := range Names(names) {
		ids = append(ids, identifier.Identifier{Type: identifier.Type(typ[len(ids)]), Value: name})
	}
	return ids
}

// Names are the names in the text that a service keeps.
func Names(text string) iter.Seq[string] {
	return strings.SplitSeq(strings.TrimSuffix(strings.TrimPrefix(text, "\n"), "\n"), "\n")
}

// ServiceKey is a service's ID as it is kept; nil for what is none.
func ServiceKey(id string) []byte {
	key, err := hex.DecodeString(id)
	if err != nil {
		return nil
	}
	return key
}
