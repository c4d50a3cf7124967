package validation

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// fence decides which addresses an attempt may connect to. It is asked with
// the very address that is dialed next, so that no name, redirect or second
// DNS answer comes between the check and the connection.
//
// In this order: the CA's own listeners are never reached; with only, nothing
// outside it is; then allow wins over deny and over the built-in denials. An
// IPv6 address that carries an IPv4 address must pass as both.
type fence struct {
	allow, deny, only []netip.Prefix
	own               func() []netip.AddrPort
}

func newFence(allow, deny, only []netip.Prefix, own func() []netip.AddrPort) fence {
	if own == nil {
		own = func() []netip.AddrPort { return nil }
	}
	return fence{unmapAll(allow), unmapAll(deny), unmapAll(only), own}
}

// builtIn are the rules in force from the start; the first that matches names
// the denial.
var builtIn = []struct {
	prefix netip.Prefix
	name   string
}{
	{netip.MustParsePrefix("169.254.169.254/32"), "cloud metadata services"},
	{netip.MustParsePrefix("168.63.129.16/32"), "cloud metadata services"},
	{netip.MustParsePrefix("100.100.100.200/32"), "cloud metadata services"},
	{netip.MustParsePrefix("192.0.0.192/32"), "cloud metadata services"},
	{netip.MustParsePrefix("fd00:ec2::254/128"), "cloud metadata services"},
	{netip.MustParsePrefix("fd00:ec2::23/128"), "cloud metadata services"},
	{netip.MustParsePrefix("fd20:ce::254/128"), "cloud metadata services"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback addresses"},
	{netip.MustParsePrefix("::1/128"), "loopback addresses"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local addresses"},
	{netip.MustParsePrefix("fe80::/10"), "link-local addresses"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast addresses"},
	{netip.MustParsePrefix("ff00::/8"), "multicast addresses"},
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified addresses"},
	{netip.MustParsePrefix("::/128"), "unspecified addresses"},
	{netip.MustParsePrefix("255.255.255.255/32"), "the broadcast address"},
}

// check returns why target may not be reached, and "" when it may.
func (f fence) check(target netip.AddrPort) string {
	addr := target.Addr().Unmap().WithZone("")
	forms := append(embedded(addr), addr)
	for _, form := range forms {
		if f.isOwn(netip.AddrPortFrom(form, target.Port())) {
			return fmt.Sprintf("%s is a listener of this CA itself, which is never a target", target)
		}
	}
	if len(f.only) > 0 && !contains(f.only, addr) {
		return fmt.Sprintf("%s is outside validation.only; if it may be reached, add it there", addr)
	}
	for _, form := range forms {
		if reason := f.denied(form); reason != "" {
			if form != addr {
				return fmt.Sprintf("%s stands for %s, and %s", addr, form, reason)
			}
			return reason
		}
	}
	return ""
}

// denied applies allow, deny and the built-in rules to one address.
func (f fence) denied(addr netip.Addr) string {
	if contains(f.allow, addr) {
		return ""
	}
	if i := slices.IndexFunc(f.deny, func(p netip.Prefix) bool { return p.Contains(addr) }); i >= 0 {
		return fmt.Sprintf("%s is denied by %s in validation.deny", addr, f.deny[i])
	}
	for _, rule := range builtIn {
		if rule.prefix.Contains(addr) {
			return fmt.Sprintf("%s is denied by the built-in rule for %s; if it may be reached, add it to validation.allow", addr, rule.name)
		}
	}
	return ""
}

// isOwn reports whether a connection to target would arrive at one of the CA's
// listeners. A listener on the unspecified address is reached through every
// address of this host, and a connection to the unspecified address arrives at
// the host itself.
func (f fence) isOwn(target netip.AddrPort) bool {
	for _, listener := range f.own() {
		addr := listener.Addr().Unmap().WithZone("")
		switch {
		case listener.Port() != target.Port():
		case addr == target.Addr(), target.Addr().IsUnspecified():
			return true
		case addr.IsUnspecified() && isLocal(target.Addr()):
			return true
		}
	}
	return false
}

// isLocal reports whether addr is an address of this host. When the host can't
// list its addresses, any might be.
func isLocal(addr netip.Addr) bool {
	if addr.IsLoopback() {
		return true
	}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	for _, local := range interfaces {
		if prefix, err := netip.ParsePrefix(local.String()); err == nil && prefix.Addr().Unmap().WithZone("") == addr {
			return true
		}
	}
	return false
}

// Forms in which IPv6 carries an IPv4 address. IPv4-mapped addresses need no
// rule: Unmap turns them into what they are.
var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 7915
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291 §2.5.5.1
)

// embedded returns the IPv4 addresses that a packet to addr may end up at.
func embedded(addr netip.Addr) []netip.Addr {
	if addr.Is4() {
		return nil
	}
	b := addr.As16()
	last := netip.AddrFrom4([4]byte(b[12:16]))
	switch {
	case nat64.Contains(addr), translated.Contains(addr):
		return []netip.Addr{last}
	case compatible.Contains(addr) && !addr.IsUnspecified() && !addr.IsLoopback():
		return []netip.Addr{last}
	case sixToFour.Contains(addr):
		return []netip.Addr{netip.AddrFrom4([4]byte(b[2:6]))}
	case teredo.Contains(addr):
		client := netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})
		return []netip.Addr{netip.AddrFrom4([4]byte(b[4:8])), client}
	case nat64Local.Contains(addr):
		return nat64Forms(b, last)
	}
	return nil
}

// nat64Forms reads an address of the local-use NAT64 prefix in each layout of
// RFC 6052 §2.2, for the length of the prefix in use is not known here. Zeros
// are the padding of another layout, not an address.
func nat64Forms(b [16]byte, last netip.Addr) []netip.Addr {
	forms := []netip.Addr{last}
	for _, form := range [][4]byte{
		{b[6], b[7], b[9], b[10]},
		{b[7], b[9], b[10], b[11]},
		{b[9], b[10], b[11], b[12]},
	} {
		forms = append(forms, netip.AddrFrom4(form))
	}
	return slices.DeleteFunc(forms, func(form netip.Addr) bool { return form.As4()[0] == 0 })
}

// unmapAll brings prefixes to the form that addresses are checked in.
func unmapAll(prefixes []netip.Prefix) []netip.Prefix {
	unmapped := make([]netip.Prefix, len(prefixes))
	for i, p := range prefixes {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		unmapped[i] = p.Masked()
	}
	return unmapped
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}
