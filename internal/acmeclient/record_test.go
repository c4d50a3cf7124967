package acmeclient

import (
	"crypto"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chancery/internal/folder"
)

type keySigner = crypto.Signer

// A record can hold a command, so it is believed only when nobody else can have
// written it.
func TestRecordsOfOthersAreRefused(t *testing.T) {
	for _, test := range []struct {
		mode      fs.FileMode
		owner, us int
		says      string
	}{
		{0o644, 1000, 1000, ""},
		{0o600, 0, 1000, ""},
		{0o644, 0, 0, ""},
		{0o644, 1000, 0, "user 1000"},
		{0o644, 1000, 1001, "user 1000"},
		{0o664, 0, 0, "0664"},
		{0o646, 1000, 1000, "0646"},
	} {
		err := checkWriters(test.mode, test.owner, test.us)
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("mode %o of %d read by %d: %v, want %q", test.mode, test.owner, test.us, err, test.says)
		}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, folder.RecordFile)
	if err := errors.Join(os.WriteFile(path, []byte("{}"), 0o600), os.Chmod(path, 0o664)); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRecord(dir); err == nil || !strings.Contains(err.Error(), "0664") {
		t.Errorf("writable for the group: %v", err)
	}
}

func TestDirectoryURL(t *testing.T) {
	for server, want := range map[string]string{
		"https://ca.corp:9443":               "https://ca.corp:9443/acme/directory",
		"https://ca.corp:9443/":              "https://ca.corp:9443/acme/directory",
		"ca.corp":                            "https://ca.corp/acme/directory",
		"127.0.0.1:9443":                     "https://127.0.0.1:9443/acme/directory",
		"https://[::1]:9443":                 "https://[::1]:9443/acme/directory",
		"https://ca.corp/acme/p/x/directory": "https://ca.corp/acme/p/x/directory",
		"https://ca.corp/dir?a=b":            "https://ca.corp/dir?a=b",
	} {
		if got, err := DirectoryURL(server); err != nil || got != want {
			t.Errorf("DirectoryURL(%q) = %q, %v; want %q", server, got, err, want)
		}
	}
	for _, server := range []string{"http://ca.corp", "", "https://", "https://a b", "file:///x"} {
		if got, err := DirectoryURL(server); err == nil {
			t.Errorf("DirectoryURL(%q) = %q", server, got)
		}
	}
}

func TestReadPassword(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	for text, want := range map[string]string{"secret\n": "secret", "a b\r\nsecond": "a b", "": "", "\nsecond": ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadPassword(path); got != want || (err == nil) != (want != "") {
			t.Errorf("of %q the password is %q, %v", text, got, err)
		}
	}
}

func TestParseNames(t *testing.T) {
	for text, want := range map[string]string{
		"a_b.corp": "a_b.corp", "_srv.corp.": "_srv.corp", "Bücher.corp": "xn--bcher-kva.corp", "10.0.0.1": "10.0.0.1", "[2001:DB8::1]": "2001:db8::1",
		"uri:spiffe://corp/a": "uri:spiffe://corp/a", "email:a@corp": "email:a@corp", "dns:a.corp": "a.corp",
	} {
		names, err := ParseNames([]string{text, text})
		if err != nil || strings.Join(FormatNames(names), " ") != want {
			t.Errorf("%q: %v, %v", text, names, err)
		}
	}
	for text, says := range map[string]string{"a b": "' '", "10.0.0": "write an address in full", "dns:10.0.0.1": "without a type", "": "empty"} {
		if _, err := ParseNames([]string{text}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
