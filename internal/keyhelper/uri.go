package keyhelper

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"chancery/internal/keys"
)

// program is how the helper for a scheme is called.
const program = "chancery-key-"

// FromURI returns the options for a key by its URI. The helper is the program
// at path; when that is "", chancery-key-SCHEME beside this program or in the
// PATH. The query attribute pin-source (RFC 7512 §2.4) names the file with the
// secret, relative to dir; nobody but its owner may read it. Secrets in the URI
// itself are refused, because URIs are shown.
func FromURI(uri, path, dir string) (Options, error) {
	if !keys.IsURI(uri) {
		return Options{}, fmt.Errorf("couldn't use the key %q: it is no URI like pkcs11:token=NAME;object=NAME", uri)
	}
	scheme, _, _ := strings.Cut(uri, ":")
	options := Options{Path: path, Key: uri}
	var err error
	if options.Path == "" {
		if options.Path, err = find(program + scheme); err != nil {
			return Options{}, fmt.Errorf("couldn't use the key %s: %w", uri, err)
		}
	}
	pin, err := pinSource(uri)
	if err != nil {
		return Options{}, fmt.Errorf("couldn't use the key %s: %w", scheme, err) // without the URI, for it holds a secret
	}
	if pin != "" {
		if !filepath.IsAbs(pin) {
			pin = filepath.Join(dir, pin)
		}
		options.Secret = func() ([]byte, error) { return readSecret(pin) }
	}
	return options, nil
}

func find(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		if beside := filepath.Join(filepath.Dir(self), name); isFile(beside) {
			return beside, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("there is no program %s beside this one or in the PATH; put it there, or set issuers.NAME.helper", name)
	}
	return path, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// pinSource is the file with the secret, or "".
func pinSource(uri string) (string, error) {
	_, query, _ := strings.Cut(uri, "?")
	source := ""
	for attribute := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(attribute, "=")
		switch name {
		case "pin-value":
			return "", errors.New("pin-value puts the PIN where everybody sees it; write it into a file that only the server can read, and name that with pin-source")
		case "pin-source":
			decoded, err := url.PathUnescape(value)
			if err != nil {
				return "", fmt.Errorf("its pin-source is badly escaped: %w", err)
			}
			source = decoded
		}
	}
	if strings.HasPrefix(source, "|") {
		return "", errors.New("its pin-source is a command; name a file")
	}
	source = strings.TrimPrefix(source, "file:")
	if rest, ok := strings.CutPrefix(source, "//"); ok { // file:///path
		source = rest
	}
	return source, nil
}

// readSecret reads a file but for the end of its last line.
func readSecret(path string) ([]byte, error) {
	content, err := keys.ReadPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the key's secret: %w", err)
	}
	return []byte(strings.TrimRight(string(content), "\r\n")), nil
}
