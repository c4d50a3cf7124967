package keys

import (
	"bytes"
	"crypto"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// wantSame fails the test unless got is key.
func wantSame(t *testing.T, got, key crypto.Signer, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if !got.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(key.Public()) {
		t.Error("another key came back than was written")
	}
}

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.key")
	key := generate(t, "P-256")
	if err := WriteFile(path, key); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFile(path)
	wantSame(t, got, key, err)
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	wantFiles(t, filepath.Dir(path), "a.key")
}

func TestWriteNeverReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.key")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	key := generate(t, "P-256")
	for name, err := range map[string]error{
		"WriteFile":       WriteFile(path, key),
		"WriteSealedFile": WriteSealedFile(path, key, []byte("secret")),
		"WriteNew":        WriteNew(path, []byte("new"), 0o644),
	} {
		if !errors.Is(err, fs.ErrExist) || strings.Contains(err.Error(), ".new-") {
			t.Errorf("%s over a file: %v, want fs.ErrExist and nothing of hidden files", name, err)
		}
	}
	if data, err := os.ReadFile(path); string(data) != "precious" {
		t.Errorf("the file now holds %q, %v", data, err)
	}
	wantFiles(t, filepath.Dir(path), "a.key")
}

func TestWriteWithoutDirectory(t *testing.T) {
	err := WriteFile(filepath.Join(t.TempDir(), "no", "a.key"), generate(t, "P-256"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want fs.ErrNotExist", err)
	}
}

// wantFiles fails the test unless the directory holds just these names.
func wantFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("%s holds %v, want %v", dir, got, names)
	}
}

func TestReadRefuses(t *testing.T) {
	dir := t.TempDir()
	data, err := Marshal(generate(t, "P-256"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		mode fs.FileMode
		data []byte
		says string
	}{
		{"group", 0o640, data, "(mode 0640); run: chmod 600 " + filepath.Join(dir, "group")},
		{"world", 0o604, data, "chmod 600"},
		{"writable", 0o620, data, "chmod 600"},
		{"empty", 0o600, nil, "no private key"},
		{"large", 0o600, bytes.Repeat([]byte("x"), maxFile+1), "too large"},
	} {
		path := filepath.Join(dir, test.name)
		if err := os.WriteFile(path, test.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want an error that says %q", test.name, err, test.says)
		}
	}
	if _, err := ReadFile(dir); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("directory: %v", err)
	}
	if _, err := ReadFile(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v, want fs.ErrNotExist", err)
	}
}
