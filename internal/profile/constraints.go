package profile

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"chancery/internal/identifier"
)

// subtree is a name constraint of one form.
type subtree struct {
	slot
	excluded bool
	choice   uint8 // of GeneralName
}

func (c *compiler) compileCA() {
	spec := &c.profile.Spec
	constraints := c.subtrees("permitted", false, spec.NameConstraints.Permitted)
	constraints = append(constraints, c.subtrees("excluded", true, spec.NameConstraints.Excluded)...)
	c.profile.constraints = constraints
	ca := spec.BasicConstraints.CA
	switch {
	case !ca && spec.BasicConstraints.PathLength != 0:
		c.refuse("basic_constraints.path_length", "only CAs have a path length; set basic_constraints.ca, or leave this out")
	case spec.BasicConstraints.PathLength < 0:
		c.refuse("basic_constraints.path_length", "%d is negative; write 0 or more", spec.BasicConstraints.PathLength)
	}
	if !ca && constraints != nil {
		c.refuse("name_constraints", "only CAs have name constraints (RFC 5280 §4.2.1.10); set basic_constraints.ca, or leave them out")
	}
	if !ca {
		return
	}
	if c.profile.subject == nil {
		c.refuse("basic_constraints.ca", "a CA needs a subject (RFC 5280 §4.1.2.6); set subject.common_name")
	}
	if spec.NoRevocation {
		c.refuse("no_revocation", "CAs' certificates can't have it (RFC 9608 §4); leave it out")
	}
}

func (c *compiler) subtrees(name string, excluded bool, trees Subtrees) []subtree {
	var list []subtree
	for _, form := range []struct {
		name   string
		choice uint8
		texts  []Text
		check  func(string) (string, error)
		sample string
	}{
		{"dns", nameDNS, trees.DNS, checkDomain, "sample.internal"},
		{"ips", nameIP, trees.IPs, checkNetwork, "10.0.0.0/8"},
		{"emails", nameEmail, trees.Emails, checkMailboxes, "sample.internal"},
		{"uris", nameURI, trees.URIs, checkHosts, "sample.internal"},
	} {
		for _, slot := range c.slots("name_constraints."+name+"."+form.name, form.texts, form.check, form.sample) {
			list = append(list, subtree{slot, excluded, form.choice})
		}
	}
	return list
}

// checkDomain reads a domain; "*" is all of them.
func checkDomain(text string) (string, error) {
	if text == "*" {
		return "", nil
	}
	if base := strings.TrimPrefix(strings.TrimPrefix(text, "*"), "."); base != text {
		return "", fmt.Errorf("a domain stands for itself and all names below it; write %s", base)
	}
	return normalOf(identifier.DNS)(text)
}

func checkNetwork(text string) (string, error) {
	network, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return "", fmt.Errorf("%.60q is no network; write it like 10.0.0.0/8", text)
	case network.Addr().Is4In6():
		return "", errors.New("the network is an IPv4 one mapped into IPv6; write the IPv4 one")
	case network != network.Masked():
		return "", fmt.Errorf("the network has bits after its first %d; write %s", network.Bits(), network.Masked())
	}
	return network.String(), nil
}

// checkMailboxes reads one mailbox, a host, or a domain after a dot.
func checkMailboxes(text string) (string, error) {
	if strings.Contains(text, "@") {
		return normalOf(identifier.Email)(text)
	}
	return checkHosts(text)
}

func checkHosts(text string) (string, error) {
	host, dotted := strings.CutPrefix(text, ".")
	name, err := normalOf(identifier.DNS)(host)
	if err == nil && strings.HasPrefix(name, "*") {
		err = errors.New("a wildcard does not fit here; write the domain after a dot")
	}
	if dotted {
		name = "." + name
	}
	return name, err
}

// addNameConstraints adds the extension, which is always critical, unless it
// would be empty.
func (p *Profile) addNameConstraints(b *cryptobyte.Builder, e *evaluation) error {
	var trees [2][]byte // permitted and excluded
	for i := range p.constraints {
		constraint := &p.constraints[i]
		values, err := e.texts(&constraint.slot)
		if err != nil {
			return err
		}
		which := &trees[0]
		if constraint.excluded {
			which = &trees[1]
		}
		for _, value := range values {
			*which = append(*which, generalSubtree(constraint.choice, value)...)
		}
	}
	if trees[0] == nil && trees[1] == nil {
		return nil
	}
	addExtension(b, extNameConstraints, true, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for tag, content := range trees {
				if content != nil {
					b.AddASN1(constructed(uint8(tag)), func(b *cryptobyte.Builder) { b.AddBytes(content) })
				}
			}
		})
	})
	return nil
}

func generalSubtree(choice uint8, value string) []byte {
	content := []byte(value)
	if network, err := netip.ParsePrefix(value); choice == nameIP && err == nil {
		content = append(network.Addr().AsSlice(), net.CIDRMask(network.Bits(), network.Addr().BitLen())...)
	}
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { addGeneralName(b, choice, content) })
	return b.BytesOrPanic()
}
