package cloudkms

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// URI names a key: SCHEME:PATH?ATTRIBUTE=VALUE&…
type URI struct {
	Path       string
	attributes map[string]string
}

// Get is the value of an attribute, or "".
func (u URI) Get(attribute string) string { return u.attributes[attribute] }

// ParseURI reads a URI strictly: of its attributes each may be there once, and
// an attribute that is not understood could be one that tells the right key
// from a wrong one.
func ParseURI(text, scheme string, attributes ...string) (URI, error) {
	uri := URI{attributes: map[string]string{}}
	rest, ok := strings.CutPrefix(text, scheme+":")
	if !ok {
		return uri, fmt.Errorf("the key's URI is not one like %s:NAME", scheme)
	}
	path, query, _ := strings.Cut(rest, "?")
	var err error
	if uri.Path, err = url.PathUnescape(path); err != nil {
		return uri, fmt.Errorf("the key's URI is badly escaped: %w", err)
	}
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		decoded, err := url.PathUnescape(value)
		switch _, twice := uri.attributes[name]; {
		case !slices.Contains(attributes, name):
			return uri, fmt.Errorf("the attribute %.40q of the key's URI is not supported; there is %s", name, strings.Join(attributes, ", "))
		case twice:
			return uri, fmt.Errorf("the key's URI has %s twice", name)
		case err != nil || decoded == "":
			return uri, fmt.Errorf("the attribute %s of the key's URI is empty or badly escaped", name)
		}
		uri.attributes[name] = decoded
	}
	return uri, nil
}

// ParseEndpoint reads the base URL of a service: nothing but a scheme and a
// host. What goes there carries credentials, so it is HTTPS, or does not leave
// the machine.
func ParseEndpoint(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("the endpoint %.100q is no URL like https://kms.example.com", text)
	}
	if err := requireSafe(u); err != nil {
		return nil, err
	}
	u.Path = ""
	return u, nil
}

// requireSafe refuses URLs by which secrets would go over a network in clear.
func requireSafe(u *url.URL) error {
	address, err := netip.ParseAddr(u.Hostname())
	loopback := u.Hostname() == "localhost" || err == nil && address.IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback) {
		return fmt.Errorf("the endpoint %s is not https", u.Redacted())
	}
	return nil
}
