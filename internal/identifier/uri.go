package identifier

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

const maxURI = 2048 // also the limit of SPIFFE IDs (SPIFFE-ID §2.3)

// parseURI checks an absolute URI (RFC 5280 §4.2.1.6) and writes its scheme and
// host in lower case. Spellings that mean the same as another, and by which a
// rule about prefixes could be evaded, are refused: dot segments, needless
// percent encodings, user information.
func parseURI(value string) (string, error) {
	if len(value) > maxURI {
		return "", fmt.Errorf("the URI has %d characters; at most %d are allowed", len(value), maxURI)
	}
	scheme, rest, found := strings.Cut(value, ":")
	if !found || !isScheme(scheme) || rest == "" {
		return "", fmt.Errorf("%.60q is no absolute URI; write it like spiffe://example.corp/service", value)
	}
	if err := checkURIText(rest); err != nil {
		return "", err
	}
	scheme = lowerASCII(scheme)
	if !strings.HasPrefix(rest, "//") {
		return scheme + ":" + rest, nil
	}
	authority := rest[2:]
	end := strings.IndexAny(authority, "/?#")
	if end < 0 {
		end = len(authority)
	}
	authority, tail := lowerASCII(authority[:end]), authority[end:]
	if scheme == "spiffe" {
		return "spiffe://" + authority + tail, checkSPIFFE(authority, tail)
	}
	return scheme + "://" + authority + tail, checkAuthority(authority, tail)
}

// isScheme is the rule of RFC 3986 §3.1.
func isScheme(text string) bool {
	if text == "" || strings.Trim(text[:1], "0123456789+-.") == "" {
		return false
	}
	return strings.Trim(lowerASCII(text), "abcdefghijklmnopqrstuvwxyz0123456789+-.") == ""
}

const (
	unreserved = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~" // RFC 3986 §2.3
	reserved   = ":/?#[]@!$&'()*+,;="                                                 // RFC 3986 §2.2
)

// checkURIText holds all after the scheme against the characters of RFC 3986
// §2, with percent encodings in their normal form (§6.2.2).
func checkURIText(text string) error {
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case strings.IndexByte(unreserved+reserved, c) >= 0:
		case c != '%':
			return fmt.Errorf("the URI has the character %q; write it percent-encoded", c)
		case i+2 >= len(text) || strings.Trim(text[i+1:i+3], "0123456789ABCDEF") != "":
			return errors.New("the URI has a % without two hexadecimal digits in capitals")
		default:
			if decoded := unhex(text[i+1])<<4 | unhex(text[i+2]); strings.IndexByte(unreserved, decoded) >= 0 {
				return fmt.Errorf("the URI has %s for %q; write the character itself", text[i:i+3], decoded)
			}
			i += 2
		}
	}
	return nil
}

func unhex(digit byte) byte {
	if digit >= 'A' {
		return digit - 'A' + 10
	}
	return digit - '0'
}

// checkAuthority wants a host that is a DNS name or an address (RFC 5280
// §4.2.1.6) and a path in its normal form.
func checkAuthority(authority, tail string) error {
	u, err := url.Parse("x://" + authority)
	switch {
	case err != nil:
		return errors.New("the URI's host and port cannot be read")
	case strings.Contains(authority, "@"):
		return errors.New("the URI has user information before the host; leave it out")
	case strings.HasSuffix(authority, ":"):
		return errors.New("the URI has a colon without a port; leave it out")
	}
	path, _, _ := strings.Cut(tail, "#")
	path, _, _ = strings.Cut(path, "?")
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return errors.New("the URI has a segment . or .. in its path; write the path that it means")
		}
	}
	return checkURIHost(u.Hostname())
}

func checkURIHost(host string) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" || addr.String() != host {
			return fmt.Errorf("the URI's address is not in its normal form; write %s", addr.WithZone(""))
		}
		return nil
	}
	name, err := parseDNS(host)
	if err == nil && strings.HasPrefix(name, "*.") {
		err = errors.New("a URI has no wildcard")
	}
	if err != nil {
		return fmt.Errorf("the URI's host: %w", err)
	}
	return nil
}

const maxTrustDomain = 255

// checkSPIFFE holds a SPIFFE ID against SPIFFE-ID §2: a trust domain, and a
// path of plain segments, which may be missing in the ID of an authority.
func checkSPIFFE(trustDomain, path string) error {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789.-_"
	if trustDomain == "" || len(trustDomain) > maxTrustDomain || strings.Trim(trustDomain, letters) != "" {
		return errors.New("a SPIFFE ID begins with spiffe:// and a trust domain of letters, digits, dots, hyphens and underscores, without a port")
	}
	if path == "" {
		return nil
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "" || segment == "." || segment == ".." || path[0] != '/' ||
			strings.Trim(segment, letters+"ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return errors.New("the path of a SPIFFE ID has segments of letters, digits, dots, hyphens and underscores; none is empty, . or .., and there is no query")
		}
	}
	return nil
}
