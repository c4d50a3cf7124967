package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"chancery/internal/identifier"
	"chancery/internal/limits"
)

// normalize checks text against the rule of an "is" tag and returns it in the
// form that the rest of the program relies on.
func normalize(rule, text string) (string, error) {
	switch rule {
	case "":
		return text, nil
	case "address":
		return parseAddress(text)
	case "resolver":
		return parseResolver(text)
	case "host":
		id, err := identifier.Guess(text)
		if err == nil && id.IsWildcard() {
			err = errors.New("a server has no wildcard name; write the whole name")
		}
		return id.Value, err
	case "domain":
		id, err := identifier.Parse(identifier.DNS, strings.TrimSuffix(text, "."))
		if err == nil && id.IsWildcard() {
			err = errors.New("a wildcard does not fit here; write the name alone")
		}
		return id.Value, err
	case "name":
		id, err := identifier.ParseText(text)
		return id.String(), err
	case "rate":
		rate, err := limits.ParseRate(text)
		return rate.String(), err
	case "url":
		return parseURL(text, "https", "http")
	case "https", "http":
		return parseBaseURL(text, rule)
	}
	return "", fmt.Errorf("there is no rule %q", rule)
}

func parsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return prefix, fmt.Errorf("%.60q is neither an address nor a network; write it like 10.0.0.7, 10.0.0.0/8 or 2001:db8::/32", text)
	case prefix.Masked() != prefix:
		return prefix, fmt.Errorf("%s has bits set after its first %d; write %s for the network or %s for the address", text, prefix.Bits(), prefix.Masked(), prefix.Addr())
	}
	return prefix, nil
}

// parseAddress reads where a server listens. Port 0 lets the system choose.
func parseAddress(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", fmt.Errorf("%.60q is no HOST:PORT; write it like 127.0.0.1:9443 or [::1]:9443", text)
	}
	if err := checkHost(host, true); err != nil {
		return "", err
	}
	number, err := parsePort(port, 0)
	return net.JoinHostPort(host, number), err
}

func parseResolver(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = strings.Trim(text, "[]"), "53"
	}
	if err := checkHost(host, false); err != nil {
		return "", fmt.Errorf("%w; write a resolver like 10.0.0.53 or 10.0.0.53:53", err)
	}
	number, err := parsePort(port, 1)
	return net.JoinHostPort(host, number), err
}

// checkHost accepts a host name, an address, and, when anyHost is set, all of
// the host's addresses.
func checkHost(host string, anyHost bool) error {
	addr, err := netip.ParseAddr(host)
	switch {
	case anyHost && (host == "" || err == nil && addr.IsUnspecified()):
		return nil
	case err == nil && !addr.IsUnspecified() && !addr.IsMulticast():
		return nil
	case err == nil:
		return fmt.Errorf("%s is no host's address", addr)
	}
	if id, err := identifier.Parse(identifier.DNS, host); err != nil {
		return fmt.Errorf("%.60q is no host: %w", host, err)
	} else if id.IsWildcard() {
		return fmt.Errorf("%.60q is no host, but a wildcard", host)
	}
	return nil
}

func parsePort(text string, least int) (string, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || int(port) < least {
		return "", fmt.Errorf("%.60q is no port; write a number from %d to 65535", text, least)
	}
	return strconv.FormatUint(port, 10), nil
}

func parseURL(text string, schemes ...string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || !slices.Contains(schemes, u.Scheme) || u.Hostname() == "" || u.User != nil {
		return "", fmt.Errorf("%.120q is no URL that begins with %s:// and a host", text, strings.Join(schemes, ":// or "))
	}
	return text, nil
}

// parseBaseURL reads what paths are appended to: scheme, host and port, in the
// form that clients compare, which leaves out the scheme's own port.
func parseBaseURL(text, scheme string) (string, error) {
	if _, err := parseURL(text, scheme); err != nil {
		return "", err
	}
	u, _ := url.Parse(text)
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return "", fmt.Errorf("%.120q has more than a host and a port; write %s://%s", text, scheme, u.Host)
	}
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, "%") {
		return "", fmt.Errorf("%.120q has an address with a zone; leave the zone out", text)
	}
	if err := checkHost(host, false); err != nil {
		return "", err
	}
	if u.Port() == "" {
		return baseURL(scheme, host, ""), nil
	}
	port, err := parsePort(u.Port(), 1)
	return baseURL(scheme, host, port), err
}

// baseURL puts a URL together, without the scheme's own port.
func baseURL(scheme, host, port string) string {
	if scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		port = ""
	}
	if port != "" {
		return scheme + "://" + net.JoinHostPort(host, port)
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return scheme + "://" + host
}
