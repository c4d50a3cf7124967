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
	"syscall"
	"unicode"

	"golang.org/x/net/idna"

	"chancery/internal/folder"
	"chancery/internal/identifier"
)

// Record says how a certificate was obtained, so that it can be renewed: the
// content of renewal.json. Paths are absolute.
type Record struct {
	Door            string   `json:"door,omitempty"`              // "" for ACME, or TokenDoor
	Server          string   `json:"server"`                      // as in Config
	Root            string   `json:"root,omitempty"`              // as in Config.RootFile
	Accounts        string   `json:"accounts,omitempty"`          // as in Config; of ACME
	Profile         string   `json:"profile,omitempty"`           // "" for the server's default
	Names           []string `json:"names"`                       // as a person writes them
	Method          Method   `json:"method,omitzero"`             // of ACME
	Provisioner     string   `json:"provisioner,omitempty"`       // who vouches for the token; of tokens, "" where they say so themselves
	TokenFile       string   `json:"token_file,omitempty"`        // where another token is when the certificate cannot be renewed; of tokens
	Key             string   `json:"key,omitempty"`               // a key file that is used as it is; "" for one in the folder
	KeyType         string   `json:"key_type,omitempty"`          // of a new key, as keys.Generate names it
	ReuseKey        bool     `json:"reuse_key,omitempty"`         // renewals keep the folder's key
	P12             string   `json:"p12,omitempty"`               // a PKCS#12 file that is written too
	P12PasswordFile string   `json:"p12_password_file,omitempty"` // whose first line is its password; "" to have one made
	Owner           string   `json:"owner,omitempty"`             // as folder.ParseOwner reads it; "" for who runs the command
	Exec            string   `json:"exec,omitempty"`              // the command that is run when the certificate has been renewed
}

// The doors of a server besides ACME, as records name them.
const (
	TokenDoor   = "token"   // with a signed token, renewed by the certificate itself
	programDoor = "program" // a program keeps it by package client
)

// FolderOf is the folder that a person means by naming it or a file in it.
func FolderOf(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", fmt.Errorf("couldn't find the certificate: %w", err)
	case info.IsDir():
		return path, nil
	default:
		return filepath.Dir(path), nil
	}
}

// IsFolder reports whether a directory holds a certificate that can be renewed.
func IsFolder(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, folder.RecordFile))
	return err == nil
}

// ReadRecord reads the record of a folder. The error wraps fs.ErrNotExist when
// the folder has none. A record that somebody else could have written is
// refused, for it can hold a command.
func ReadRecord(dir string) (Record, error) {
	var record Record
	path := filepath.Join(dir, folder.RecordFile)
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return record, &Error{op: "read " + path, err: fs.ErrNotExist,
			hint: "only what \"chancery cert issue\" has written can be renewed; issue it again with --out"}
	}
	if err != nil {
		return record, fmt.Errorf("couldn't read how the certificate was issued: %w", err)
	}
	defer func() { _ = file.Close() }()
	if err := checkOurs(file); err != nil {
		return record, &Error{op: "trust " + path, err: err, hint: "run this as its owner, or give the file to who runs this"}
	}
	if err := json.NewDecoder(file).Decode(&record); err != nil {
		return record, fmt.Errorf("couldn't read %s: %w", path, err)
	}
	return record, nil
}

func checkOurs(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	status, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("its owner is not known")
	}
	return checkWriters(info.Mode().Perm(), int(status.Uid), os.Geteuid())
}

// checkWriters refuses a file that others than root and this user can write.
func checkWriters(mode fs.FileMode, owner, us int) error {
	if mode&0o022 != 0 {
		return fmt.Errorf("other users can write it (mode %04o)", mode)
	}
	if owner != 0 && owner != us {
		return fmt.Errorf("it belongs to user %d", owner)
	}
	return nil
}

func (r Record) encode() ([]byte, error) {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("couldn't encode %s: %w", folder.RecordFile, err)
	}
	return append(text, '\n'), nil
}

func (r Record) identifiers() ([]identifier.Identifier, error) { return ParseNames(r.Names) }

// ParseNames reads names as a person writes them, each once: a DNS name, an
// address, uri:… or email:…. Names outside ASCII are encoded (RFC 5891). Whether
// underscores are allowed is for the server to say.
func ParseNames(texts []string) ([]identifier.Identifier, error) {
	var names []identifier.Identifier
	for _, text := range texts {
		name, err := parseName(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no name for a certificate: %w", text, err)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

func parseName(text string) (identifier.Identifier, error) {
	encoded, err := idna.Lookup.ToASCII(text)
	if err != nil || isASCII(text) {
		encoded = text
	}
	return identifier.ParseText(encoded)
}

// FormatNames is the reverse of ParseNames.
func FormatNames(names []identifier.Identifier) []string {
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = name.Value
		if name.Type == identifier.URI || name.Type == identifier.Email {
			texts[i] = name.String()
		}
	}
	return texts
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII })
}
