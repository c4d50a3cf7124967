package hierarchy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// A crash between any two steps leaves nothing, or what the next Load makes
// whole; and another attempt then works, or says that there is a CA.
func TestCrash(t *testing.T) {
	files, err := Options{Passphrase: passphrase}.withDefaults().build()
	if err != nil {
		t.Fatal(err)
	}
	committed := false
	for done := range len(installSteps("", files)) + 1 {
		dir := filepath.Join(t.TempDir(), "ca")
		for _, step := range installSteps(dir, files)[:done] {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		h, err := Load(dir)
		if err == nil {
			committed = true
			wantFiles(t, dir, KeyFile, IntermediateFile, RootListFile, RootKeyFile, RootFile)
			if string(encode(h.Root)) != string(files[2].data) {
				t.Errorf("after %d steps Load gives another root", done)
			}
		}
		if !committed && !errors.Is(err, fs.ErrNotExist) || committed && err != nil {
			t.Errorf("after %d steps (committed %v) Load: %v", done, committed, err)
		}
		establishAfterCrash(t, dir, files, done, committed)
	}
	if !committed {
		t.Error("all steps together make no CA")
	}
}

// establishAfterCrash does what Create does, with files made before.
func establishAfterCrash(t *testing.T, dir string, files []file, done int, committed bool) {
	t.Helper()
	err := establish(dir, func() ([]file, error) { return files, nil })
	if committed && !errors.Is(err, ErrExists) || !committed && err != nil {
		t.Errorf("after %d steps (committed %v) another attempt: %v", done, committed, err)
	}
	wantFiles(t, dir, KeyFile, IntermediateFile, RootListFile, RootKeyFile, RootFile)
}

// Create, run after the crash without a Load, finishes too.
func TestCreateFinishes(t *testing.T) {
	files, err := Options{Passphrase: passphrase}.withDefaults().build()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	done := 2*len(files) + 4 // all but two files are in their places
	for _, step := range installSteps(dir, files)[:done] {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Create(Options{Dir: dir, Passphrase: passphrase}); !errors.Is(err, ErrExists) {
		t.Errorf("Create: %v, want ErrExists", err)
	}
	wantFiles(t, dir, KeyFile, IntermediateFile, RootListFile, RootKeyFile, RootFile)
}

func TestInstallNeverReplaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, KeyFile)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := install(dir, []file{{KeyFile, []byte("new"), keyPerm}})
	if !errors.Is(err, ErrExists) {
		t.Errorf("install over a file: %v, want ErrExists", err)
	}
	if data, err := os.ReadFile(path); string(data) != "precious" {
		t.Errorf("the file now holds %q, %v", data, err)
	}
}
