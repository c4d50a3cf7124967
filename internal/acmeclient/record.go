package acmeclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/net/idna"

	"chancery/internal/identifier"
)

// Record says how a certificate was obtained, so that it can be renewed: the
// content of renewal.json. Paths are absolute.
type Record struct {
	Server          string   `json:"server"`                      // as in Config
	Root            string   `json:"root,omitempty"`              // as in Config.RootFile
	Accounts        string   `json:"accounts"`                    // as in Config
	Profile         string   `json:"profile,omitempty"`           // "" for the server's default
	Names           []string `json:"names"`                       // as a person writes them
	Method          Method   `json:"method"`                      //
	Key             string   `json:"key,omitempty"`               // a key file that is used as it is; "" for one in the folder
	KeyType         string   `json:"key_type,omitempty"`          // of a new key, as keys.Generate names it
	ReuseKey        bool     `json:"reuse_key,omitempty"`         // renewals keep the folder's key
	P12             string   `json:"p12,omitempty"`               // a PKCS#12 file that is written too
	P12PasswordFile string   `json:"p12_password_file,omitempty"` // whose first line is its password; "" to have one made
	Owner           string   `json:"owner,omitempty"`             // as ParseOwner reads it; "" for who runs the command
}

// FolderOf is the folder that a person means by naming it or a file in it.
func FolderOf(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return path
	}
	return filepath.Dir(path)
}

// ReadRecord reads the record of a folder. The error wraps fs.ErrNotExist when
// the folder has none.
func ReadRecord(dir string) (Record, error) {
	var record Record
	path := filepath.Join(dir, RecordFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return record, &Error{op: "read " + path, err: fs.ErrNotExist,
			hint: "only what \"chancery cert issue\" has written can be renewed; issue it again with --out " + dir}
	}
	if err != nil {
		return record, fmt.Errorf("couldn't read how the certificate was issued: %w", err)
	}
	if err := json.Unmarshal(text, &record); err != nil {
		return record, fmt.Errorf("couldn't read %s: %w", path, err)
	}
	return record, nil
}

func (r Record) encode() ([]byte, error) {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("couldn't encode %s: %w", RecordFile, err)
	}
	return append(text, '\n'), nil
}

// identifiers parses the names, each once. Names outside ASCII are encoded
// (RFC 5891).
func (r Record) identifiers() ([]identifier.Identifier, error) {
	var names []identifier.Identifier
	for _, text := range r.Names {
		encoded, err := idna.Lookup.ToASCII(text)
		if err != nil || isASCII(text) {
			encoded = text
		}
		name, err := identifier.Guess(encoded)
		if err != nil {
			return nil, fmt.Errorf("%q is no name for a certificate: %w", text, err)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII })
}
