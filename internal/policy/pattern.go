package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"chancery/internal/identifier"
)

// typeSSH is the type of SSH principals, which no X.509 certificate carries.
const typeSSH identifier.Type = "ssh"

// shape is what a pattern matches.
type shape uint8

const (
	dnsExact    shape = iota // the name itself
	dnsChild                 // *.d: names with one label before d, *.d itself included
	dnsBelow                 // **.d: names with one label or more before d
	dnsReached               // kept with a denied name: the wildcard that would stand for it
	ipNetwork                // addresses in a network
	emailExact               // an address
	emailDomain              // all addresses at a domain
	uriPrefix                // URIs that begin so
	sshExact                 // a principal
)

// Pattern is a set of names as an operator writes it:
//
//	a.corp            the name itself
//	*.corp            names with one label before corp, *.corp included, corp not
//	**.corp           names at any depth below corp, wildcards included, corp not
//	**                all DNS names
//	10.2.0.0/16       addresses; one address alone is a network of one
//	email:@corp       e-mail addresses at corp; email:a@corp one of them
//	uri:spiffe://c/   URIs that begin so
//	ssh:deploy        an SSH principal
type Pattern struct {
	text  string // as written, in its normal form
	shape shape
	key   string       // what names are looked up by; "" of a network
	net   netip.Prefix // of ipNetwork
}

func (p Pattern) String() string { return p.text }

// ParsePattern reads one pattern. The error says what would be right.
func ParsePattern(text string) (Pattern, error) {
	kind, rest, found := strings.Cut(text, ":")
	if found {
		switch kind {
		case "email":
			return parseEmail(rest)
		case "uri":
			return parseURI(rest)
		case "ssh":
			return parseSSH(rest)
		case "dns":
			return parseName(rest)
		case "ip":
			text = rest
		}
	}
	if network, err := parseNetwork(text); err == nil || strings.ContainsAny(text, ":/") {
		return Pattern{text: network.String(), shape: ipNetwork, net: network}, err
	}
	return parseName(text)
}

func parseName(text string) (Pattern, error) {
	if text == "**" {
		return Pattern{text: text, shape: dnsBelow}, nil
	}
	p := Pattern{shape: dnsExact, key: text}
	if base, ok := strings.CutPrefix(text, "**."); ok {
		p.shape, p.key = dnsBelow, base
	} else if base, ok := strings.CutPrefix(text, "*."); ok {
		p.shape, p.key = dnsChild, base
	}
	if _, err := identifier.ParseLoose(identifier.DNS, p.key); err != nil || strings.Contains(p.key, "*") {
		if err == nil {
			err = errors.New("stars fit only before the first dot")
		}
		return p, fmt.Errorf("%.80q is no pattern of names: %w; write it like a.corp, *.corp, **.corp or 10.2.0.0/16", text, err)
	}
	p.key = strings.ToLower(p.key)
	p.text = strings.ToLower(text)
	return p, nil
}

func parseNetwork(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return network, fmt.Errorf("%.80q is neither an address nor a network; write it like 10.0.0.7, 10.2.0.0/16 or 2001:db8::/32", text)
	case network.Masked() != network:
		return network, fmt.Errorf("%s has bits set after its first %d; write %s", text, network.Bits(), network.Masked())
	}
	return network, nil
}

func parseEmail(text string) (Pattern, error) {
	local, domain, found := strings.Cut(text, "@")
	if _, err := identifier.Parse(identifier.DNS, domain); !found || err != nil || strings.ContainsAny(domain, "*@") {
		return Pattern{}, fmt.Errorf("%.80q is no pattern of e-mail addresses; write it like email:@example.corp or email:ops@example.corp", "email:"+text)
	}
	domain = strings.ToLower(domain)
	if local == "" {
		return Pattern{text: "email:@" + domain, shape: emailDomain, key: domain}, nil
	}
	return Pattern{text: "email:" + local + "@" + domain, shape: emailExact, key: local + "@" + domain}, nil
}

func parseURI(text string) (Pattern, error) {
	if scheme, _, found := strings.Cut(text, ":"); !found || scheme == "" {
		return Pattern{}, fmt.Errorf("%.80q is no pattern of URIs; write it like uri:spiffe://example.corp/", "uri:"+text)
	}
	return Pattern{text: "uri:" + text, shape: uriPrefix, key: text}, nil
}

func parseSSH(text string) (Pattern, error) {
	if text == "" || strings.ContainsAny(text, " ,*\t") {
		return Pattern{}, fmt.Errorf("%.80q is no SSH principal; write it like ssh:deploy", "ssh:"+text)
	}
	return Pattern{text: "ssh:" + text, shape: sshExact, key: text}, nil
}

// Matches reports whether the pattern holds the identifier.
func (p Pattern) Matches(id identifier.Identifier) bool {
	switch p.shape {
	case dnsExact:
		return id.Type == identifier.DNS && id.Value == p.key
	case dnsChild:
		return id.Type == identifier.DNS && parent(id.Value) == p.key
	case dnsBelow:
		return id.Type == identifier.DNS && (p.key == "" || strings.HasSuffix(id.Value, "."+p.key))
	case ipNetwork:
		return id.Type == identifier.IP && p.net.Contains(id.Addr())
	case emailExact:
		return id.Type == identifier.Email && id.Value == p.key
	case emailDomain:
		_, domain, _ := strings.Cut(id.Value, "@")
		return id.Type == identifier.Email && domain == p.key
	case uriPrefix:
		return id.Type == identifier.URI && strings.HasPrefix(id.Value, p.key)
	case sshExact:
		return id.Type == typeSSH && id.Value == p.key
	}
	return false
}

// covers reports whether every name that q holds, p holds, too.
func (p Pattern) covers(q Pattern) bool {
	switch {
	case p.shape == ipNetwork && q.shape == ipNetwork:
		return p.net.Bits() <= q.net.Bits() && p.net.Contains(q.net.Addr())
	case p.shape == uriPrefix && q.shape == uriPrefix:
		return strings.HasPrefix(q.key, p.key)
	case p.shape == emailDomain && q.shape == emailExact:
		return strings.HasSuffix(q.key, "@"+p.key)
	case p.shape == dnsBelow && (q.shape == dnsExact || q.shape == dnsChild || q.shape == dnsBelow):
		below := p.key == "" || strings.HasSuffix(q.key, "."+p.key)
		return below || q.shape != dnsExact && q.key == p.key
	case p.shape == dnsChild && q.shape == dnsExact:
		return parent(q.key) == p.key
	}
	return p.shape == q.shape && p.key == q.key && p.net == q.net
}

// parent is a name without its first label; "" when it has only one.
func parent(name string) string {
	_, rest, _ := strings.Cut(name, ".")
	return rest
}
