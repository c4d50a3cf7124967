package identifier

import (
	"errors"
	"fmt"
	"strings"
)

const (
	maxLocalPart = 64  // RFC 5321 §4.5.3.1.1
	maxEmail     = 254 // RFC 5321 §4.5.3.1.3, without the angle brackets
)

// parseEmail checks an address as rfc822Name holds it (RFC 5280 §4.2.1.6): a
// dot-atom, "@", and a DNS name. Quoted local parts and those outside ASCII,
// which few relying parties compare rightly, are refused. The case of the
// local part is the mail server's business and stays.
func parseEmail(value string) (string, error) {
	local, domain, found := strings.Cut(value, "@")
	switch {
	case !found:
		return "", fmt.Errorf("%.60q is no email address; write it like name@example.corp", value)
	case len(value) > maxEmail:
		return "", fmt.Errorf("the address has %d characters; at most %d are allowed", len(value), maxEmail)
	case len(local) > maxLocalPart:
		return "", fmt.Errorf("there are %d characters before the @; at most %d are allowed", len(local), maxLocalPart)
	}
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" {
			return "", errors.New("before the @ a dot is first, last or twice, or nothing is there")
		}
		if i := strings.IndexFunc(atom, func(r rune) bool { return !isAtomText(r) }); i >= 0 {
			return "", fmt.Errorf("the address has the character %q before the @; allowed are letters, digits, dots and !#$%%&'*+-/=?^_`{|}~", []rune(atom[i:])[0])
		}
	}
	domain, err := parseDNS(domain)
	if err == nil && strings.HasPrefix(domain, "*.") {
		err = errors.New("an address has no wildcard")
	}
	if err != nil {
		return "", fmt.Errorf("after the @: %w", err)
	}
	return local + "@" + domain, nil
}

// isAtomText is atext of RFC 5322 §3.2.3.
func isAtomText(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}
