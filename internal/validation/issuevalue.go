package validation

import (
	"errors"
	"fmt"
	"strings"
)

// issueValue is the value of a CAA issue property, whose grammar
// dns-persist-01 records share (RFC 8659 §4.2).
type issueValue struct {
	domain     string // the issuer domain name, as written; "" when there is none
	parameters []parameter
}

type parameter struct{ tag, value string } // the tag in lower case

// get returns the value of a parameter and how often it stands there.
func (v issueValue) get(tag string) (value string, times int) {
	for _, p := range v.parameters {
		if p.tag == tag {
			value, times = p.value, times+1
		}
	}
	return value, times
}

// parseIssueValue reads "DOMAIN; TAG=VALUE; TAG=VALUE". Its errors never quote
// the text.
func parseIssueValue(text string) (issueValue, error) {
	domain, rest, more := strings.Cut(text, ";")
	parsed := issueValue{domain: strings.Trim(domain, " \t")}
	if parsed.domain != "" && !isIssuerDomain(parsed.domain) {
		return issueValue{}, errors.New("it does not begin with a domain name")
	}
	if !more || strings.Trim(rest, " \t") == "" {
		return parsed, nil
	}
	for n, field := range strings.Split(rest, ";") {
		tag, value, ok := strings.Cut(field, "=")
		tag, value = strings.Trim(tag, " \t"), strings.Trim(value, " \t")
		if !ok || !isTag(tag) || !isParameterValue(value) {
			return issueValue{}, fmt.Errorf("its parameter %d is not of the form tag=value", n+1)
		}
		parsed.parameters = append(parsed.parameters, parameter{strings.ToLower(tag), value})
	}
	return parsed, nil
}

// isIssuerDomain wants labels of letters, digits and inner hyphens. A dot at
// the end, which people add, is let pass.
func isIssuerDomain(text string) bool {
	for label := range strings.SplitSeq(strings.TrimSuffix(text, "."), ".") {
		if !isTag(label) {
			return false
		}
	}
	return true
}

func isTag(text string) bool {
	return text != "" && text[0] != '-' && text[len(text)-1] != '-' && isMadeOf(text, "-")
}

// isMadeOf reports whether text has nothing but ASCII letters, digits and the
// characters in also.
func isMadeOf(text, also string) bool {
	for i := range len(text) {
		c := text[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte(also, c) < 0 {
			return false
		}
	}
	return true
}

func isParameterValue(text string) bool {
	for i := range len(text) {
		if text[i] < '!' || text[i] > '~' {
			return false
		}
	}
	return true
}

// names reports whether the value names one of the given issuers.
func (v issueValue) names(issuers []string) bool {
	for _, issuer := range issuers {
		if v.domain != "" && sameName(v.domain, issuer) {
			return true
		}
	}
	return false
}
