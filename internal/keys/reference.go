package keys

import (
	"regexp"
	"strings"
)

var uriPattern = regexp.MustCompile(`^[a-z][a-z0-9+-]+:[^\n]+$`)

// IsURI reports whether text names a key that another program holds, as in
// pkcs11:token=ca;object=issuing, rather than a file.
func IsURI(text string) bool { return uriPattern.MatchString(text) }

// ReadURI returns the URI that a key file holds in place of a key, or "". The
// file is as private as one with a key.
func ReadURI(path string) (string, error) {
	data, err := ReadPrivate(path)
	if err != nil {
		return "", err
	}
	if text := strings.TrimSpace(string(data)); IsURI(text) {
		return text, nil
	}
	return "", nil
}
