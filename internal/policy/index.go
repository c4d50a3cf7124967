package policy

import (
	"net/netip"
	"slices"
	"strings"

	"chancery/internal/identifier"
)

// index finds the patterns that hold a name without looking at the others: DNS
// names by their suffixes, addresses by the lengths of prefixes there are,
// URIs by the lengths of their beginnings. A scope is a part of the index of
// its own: what concerns one grant is not looked at for another.
type index struct {
	names   map[nameKey][]entry
	nets    map[netKey][]entry
	bits    map[int32][2][]int // by scope: the lengths of its IPv4 and IPv6 prefixes
	lengths map[int32][]int    // by scope: the lengths of its URI prefixes
}

type nameKey struct {
	scope int32
	shape shape
	key   string
}

type netKey struct {
	scope int32
	net   netip.Prefix
}

// entry is a pattern of an index and what it belongs to.
type entry struct {
	owner   int32 // the rule
	list    list
	pattern int32 // its place in the owner's list
}

// list says which of an owner's lists a pattern is from.
type list uint8

const (
	allowList list = iota
	denyList
	preauthorizeList
)

func newIndex() *index {
	return &index{
		names: map[nameKey][]entry{}, nets: map[netKey][]entry{},
		bits: map[int32][2][]int{}, lengths: map[int32][]int{},
	}
}

// add enters a pattern. Entries are found in the order in which they came.
func (x *index) add(scope int32, p Pattern, e entry) {
	if p.shape == ipNetwork {
		x.nets[netKey{scope, p.net}] = append(x.nets[netKey{scope, p.net}], e)
		lengths := x.bits[scope]
		lengths[family(p.net.Addr())] = withLength(lengths[family(p.net.Addr())], p.net.Bits())
		x.bits[scope] = lengths
		return
	}
	x.put(nameKey{scope, p.shape, p.key}, e)
	if p.shape == uriPrefix {
		x.lengths[scope] = withLength(x.lengths[scope], len(p.key))
	}
	if p.shape == dnsExact && e.list == denyList {
		// A wildcard that stands for a denied name would get around the denial.
		x.put(nameKey{scope, dnsReached, parent(p.key)}, e)
	}
}

func (x *index) put(key nameKey, e entry) { x.names[key] = append(x.names[key], e) }

func withLength(lengths []int, n int) []int {
	if slices.Contains(lengths, n) {
		return lengths
	}
	return append(lengths, n)
}

func family(addr netip.Addr) int {
	if addr.Is4() {
		return 0
	}
	return 1
}

// each calls visit with every entry of the scope that holds the name.
func (x *index) each(scope int32, id identifier.Identifier, visit func(entry)) {
	look := func(s shape, key string) {
		for _, e := range x.names[nameKey{scope, s, key}] {
			visit(e)
		}
	}
	switch id.Type {
	case identifier.DNS:
		look(dnsExact, id.Value)
		above := parent(id.Value)
		look(dnsChild, above)
		if id.IsWildcard() {
			look(dnsReached, above)
		}
		for suffix := above; suffix != ""; suffix = parent(suffix) {
			look(dnsBelow, suffix)
		}
		look(dnsBelow, "")
	case identifier.IP:
		x.eachNetwork(scope, id.Addr(), visit)
	case identifier.Email:
		look(emailExact, id.Value)
		_, domain, _ := strings.Cut(id.Value, "@")
		look(emailDomain, domain)
	case identifier.URI:
		for _, n := range x.lengths[scope] {
			if n <= len(id.Value) {
				look(uriPrefix, id.Value[:n])
			}
		}
	case typeSSH:
		look(sshExact, id.Value)
	}
}

func (x *index) eachNetwork(scope int32, addr netip.Addr, visit func(entry)) {
	for _, bits := range x.bits[scope][family(addr)] {
		network, err := addr.Prefix(bits)
		if err != nil {
			continue
		}
		for _, e := range x.nets[netKey{scope, network}] {
			visit(e)
		}
	}
}
