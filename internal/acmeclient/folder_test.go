package acmeclient

import (
	"crypto"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

type keySigner = crypto.Signer

func generation(text string) map[string][]byte {
	files := map[string][]byte{}
	for _, name := range folderFiles {
		files[name] = []byte(text)
	}
	return files
}

// A crash at any point leaves the old files or the new ones, never a mixture,
// once the folder is opened again.
func TestCrashLeavesOneGeneration(t *testing.T) {
	staged := len(folderFiles)
	for step := range 2*staged + 1 {
		dir := t.TempDir()
		f := must[*folder](t)(openFolder(dir, false))
		if err := f.replace(generation("old"), nil); err != nil {
			t.Fatal(err)
		}
		for i, name := range folderFiles { // what replace does, up to the step
			if i < step {
				if err := writeFile(f.staged(name), []byte("new"), 0o600, nil); err != nil {
					t.Fatal(err)
				}
			}
			if i < step-staged {
				if err := os.Rename(f.staged(name), f.file(name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		f.close()
		f = must[*folder](t)(openFolder(dir, false))
		want := "old"
		if step >= staged {
			want = "new"
		}
		for _, name := range folderFiles {
			if text, _ := os.ReadFile(f.file(name)); string(text) != want {
				t.Errorf("after step %d %s is %q, want %q", step, name, text, want)
			}
		}
		if left, _ := os.ReadDir(dir); len(left) != staged {
			t.Errorf("after step %d there is %v", step, left)
		}
		f.close()
	}
}

func TestFolderIsForOneProcess(t *testing.T) {
	dir := t.TempDir()
	f := must[*folder](t)(openFolder(dir, false))
	if _, err := openFolder(dir, false); !errors.Is(err, errBusy) {
		t.Errorf("a second process: %v", err)
	}
	f.close()
	must[*folder](t)(openFolder(dir, false)).close()
}

func TestFilesHaveTheirModeAndOwner(t *testing.T) {
	dir := t.TempDir()
	owner := must[*Owner](t)(ParseOwner(strconv.Itoa(os.Getuid()) + ":" + strconv.Itoa(os.Getgid())))
	f := must[*folder](t)(openFolder(dir, false))
	defer f.close()
	if err := f.replace(generation("x"), owner); err != nil {
		t.Fatal(err)
	}
	for _, name := range folderFiles {
		want := fs.FileMode(0o644)
		if name == KeyFile {
			want = 0o600
		}
		if info := must[fs.FileInfo](t)(os.Stat(f.file(name))); info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), want)
		}
	}
}

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
	path := filepath.Join(dir, RecordFile)
	if err := errors.Join(os.WriteFile(path, []byte("{}"), 0o600), os.Chmod(path, 0o664)); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRecord(dir); err == nil || !strings.Contains(err.Error(), "0664") {
		t.Errorf("writable for the group: %v", err)
	}
}

func TestParseOwner(t *testing.T) {
	for text, want := range map[string]Owner{
		"0:0": {0, 0}, "root": {0, -1}, ":root": {-1, 0}, "root:": {0, -1}, "1234:56": {1234, 56},
	} {
		if got, err := ParseOwner(text); err != nil || *got != want {
			t.Errorf("ParseOwner(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	if got, err := ParseOwner(""); got != nil || err != nil {
		t.Errorf(`ParseOwner("") = %v, %v`, got, err)
	}
	if _, err := ParseOwner("root:no-such-group"); err == nil || !strings.Contains(err.Error(), "no-such-group") {
		t.Errorf("an unknown group: %v", err)
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
