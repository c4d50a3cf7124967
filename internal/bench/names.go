package bench

import (
	"fmt"
	"net/netip"
	"strings"

	"chancery/internal/identifier"
)

// namer makes identifiers that were not seen before: DNS names below a domain,
// or addresses of a network, which begin again at its end.
type namer struct {
	domain   string
	network  netip.Prefix // invalid for DNS names
	run      uint64       // tells this run from others: a part of names, where addresses begin
	perOrder int
}

// newNamer makes a namer for a domain, an address or a network.
func newNamer(domain string, perOrder int, run uint64) (*namer, error) {
	n := &namer{run: run, perOrder: perOrder}
	if network, err := netip.ParsePrefix(domain); err == nil {
		n.network = network.Masked()
		return n, nil
	}
	if addr, err := netip.ParseAddr(domain); err == nil {
		n.network = netip.PrefixFrom(addr, addr.BitLen())
		return n, nil
	}
	id, err := identifier.Parse(identifier.DNS, strings.TrimSuffix(domain, "."))
	if err != nil || id.IsWildcard() {
		return nil, fmt.Errorf("%q is no domain, address or network to make names in", domain)
	}
	n.domain = id.Value
	return n, nil
}

// of returns the identifiers of an order, by its number.
func (n *namer) of(order int) []identifier.Identifier {
	ids := make([]identifier.Identifier, n.perOrder)
	for i := range ids {
		if n.network.IsValid() {
			ids[i] = identifier.Identifier{Type: identifier.IP, Value: n.address(uint64(order*n.perOrder + i)).String()}
		} else {
			ids[i] = identifier.Identifier{Type: identifier.DNS, Value: fmt.Sprintf("n%d-%d-%x.%s", order, i, n.run, n.domain)}
		}
	}
	return ids
}

// address is the number-th of this run.
func (n *namer) address(number uint64) netip.Addr {
	first, size := n.addresses()
	offset := first + (n.run+number)%size
	octets := n.network.Addr().AsSlice()
	for i := len(octets) - 1; offset > 0; i-- {
		octets[i] |= byte(offset)
		offset >>= 8
	}
	addr, _ := netip.AddrFromSlice(octets) // of the length it came with
	return addr
}

// addresses is which of the network's are used. The first and the last of an
// IPv4 network are left out: they stand for the network and for all in it.
func (n *namer) addresses() (first, size uint64) {
	bits := n.network.Addr().BitLen() - n.network.Bits()
	if n.network.Addr().Is4() && bits > 1 {
		return 1, uint64(1)<<bits - 2
	}
	return 0, uint64(1) << min(bits, 48)
}

// enough reports whether so many different names can be made at once.
func (n *namer) enough(count int) bool {
	if !n.network.IsValid() {
		return true
	}
	_, size := n.addresses()
	return uint64(count) <= size
}
