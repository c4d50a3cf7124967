package hierarchy

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"chancery/internal/failure"
	"chancery/internal/identifier"
)

// constrain puts name constraints into a template; see Create for what they
// say.
func constrain(template *x509.Certificate, permit []string) error {
	if len(permit) == 0 {
		return nil
	}
	var has4, has6 bool
	for _, entry := range permit {
		domain, network, err := parsePermit(strings.TrimSpace(entry))
		switch {
		case err != nil:
			return fmt.Errorf("couldn't make a name constraint of %q: %w", entry, err)
		case network.IsValid():
			template.PermittedIPRanges = append(template.PermittedIPRanges, ipNet(network))
			has4, has6 = has4 || network.Addr().Is4(), has6 || network.Addr().Is6()
		default:
			template.PermittedDNSDomains = append(template.PermittedDNSDomains, domain)
		}
	}
	template.PermittedDNSDomainsCritical = true // all of them
	if len(template.PermittedDNSDomains) == 0 {
		template.ExcludedDNSDomains = []string{""}
	}
	if !has4 {
		template.ExcludedIPRanges = append(template.ExcludedIPRanges, ipNet(netip.MustParsePrefix("0.0.0.0/0")))
	}
	if !has6 {
		template.ExcludedIPRanges = append(template.ExcludedIPRanges, ipNet(netip.MustParsePrefix("::/0")))
	}
	return nil
}

// parsePermit reads a domain, an address or an address range.
func parsePermit(entry string) (domain string, network netip.Prefix, err error) {
	if addr, err := netip.ParseAddr(entry); err == nil {
		entry = fmt.Sprintf("%s/%d", addr, addr.BitLen())
	}
	if !strings.Contains(entry, "/") {
		domain, err = parseDomain(entry)
		return domain, network, err
	}
	network, err = netip.ParsePrefix(entry)
	switch {
	case err != nil:
		return "", network, errors.New("it is no address range; write it as in 10.0.0.0/8")
	case network.Addr().Is4In6():
		return "", network, errors.New("it is an IPv4 range mapped into IPv6; write the IPv4 range")
	case network != network.Masked():
		return "", network, fmt.Errorf("its address has bits beyond the prefix; write %s", network.Masked())
	}
	return "", network, nil
}

func parseDomain(entry string) (string, error) {
	if base := strings.TrimPrefix(strings.TrimPrefix(entry, "*"), "."); base != entry {
		return "", fmt.Errorf("a domain stands for itself and all names below it; write %s", base)
	}
	id, err := identifier.Parse(identifier.DNS, entry)
	return id.Value, err
}

func ipNet(network netip.Prefix) *net.IPNet {
	return &net.IPNet{
		IP:   network.Addr().AsSlice(),
		Mask: net.CIDRMask(network.Bits(), network.Addr().BitLen()),
	}
}

// Permits checks DNS names and addresses against the name constraints of all
// certificates above a leaf (RFC 5280 §4.2.1.10), so that nothing is signed
// that relying parties would refuse. Of other identifiers it says nothing. The
// error is a failure of kind Rejected with a Part for each identifier, which
// names certificate and constraint.
func Permits(chain []*x509.Certificate, ids []identifier.Identifier) error {
	var parts []failure.Part
	for _, id := range ids {
		for _, cert := range chain {
			if reason := forbids(cert, id); reason != "" {
				public := fmt.Sprintf("%s is outside of what the CA %q may issue for: %s", id.Value, cert.Subject.CommonName, reason)
				parts = append(parts, failure.Part{Identifier: id, Kind: failure.Rejected, Public: public})
				break
			}
		}
	}
	if len(parts) == 0 {
		return nil
	}
	err := failure.New(failure.Rejected, "%s", parts[0].Public)
	if len(parts) > 1 {
		err.Public = fmt.Sprintf("%d identifiers are outside of what the CA may issue for; the first: %s", len(parts), err.Public)
	}
	err.Parts = parts
	return err
}

// forbids says which constraint of a certificate forbids an identifier, or
// nothing.
func forbids(cert *x509.Certificate, id identifier.Identifier) string {
	switch id.Type {
	case identifier.DNS:
		return forbidden(id.Value, cert.PermittedDNSDomains, cert.ExcludedDNSDomains, inSubtree, reachesSubtree)
	case identifier.IP:
		if len(cert.PermittedIPRanges)+len(cert.ExcludedIPRanges) == 0 {
			return "" // spare the conversion
		}
		addr := net.IP(id.Addr().AsSlice())
		return forbidden(addr, cert.PermittedIPRanges, cert.ExcludedIPRanges, inRange, inRange)
	default:
		return ""
	}
}

// forbidden judges a name by the constraints of its form: none that excludes
// may match, and one that permits must, if there is any.
func forbidden[N, C any](name N, permitted, excluded []C, permits, excludes func(N, C) bool) string {
	for _, constraint := range excluded {
		if excludes(name, constraint) {
			return "it excludes " + describe(constraint)
		}
	}
	if len(permitted) == 0 || slices.ContainsFunc(permitted, func(c C) bool { return permits(name, c) }) {
		return ""
	}
	texts := make([]string, len(permitted))
	for i, constraint := range permitted {
		texts[i] = describe(constraint)
	}
	return "it permits only " + strings.Join(texts, ", ")
}

func describe(constraint any) string {
	if text := fmt.Sprint(constraint); text != "" {
		return text
	}
	return "all DNS names"
}

func inRange(addr net.IP, network *net.IPNet) bool { return network.Contains(addr) }

// inSubtree reports whether a name, or all names a wildcard stands for, are
// the domain or below it. A domain with a leading dot, which RFC 5280 does not
// have but others write, stands for the names below it only.
func inSubtree(name, domain string) bool {
	above := len(name) - len(domain) // where the domain begins in the name
	if above < 0 || !strings.EqualFold(name[above:], domain) {
		return false
	}
	return above == 0 || domain == "" || domain[0] == '.' || name[above-1] == '.'
}

// reachesSubtree reports whether a name, or any name a wildcard stands for, is
// the domain or below it: *.example.corp reaches secret.example.corp.
func reachesSubtree(name, domain string) bool {
	if inSubtree(name, domain) {
		return true
	}
	base, wildcard := strings.CutPrefix(name, "*.")
	_, parent, _ := strings.Cut(domain, ".")
	return wildcard && strings.EqualFold(base, parent)
}
