package folder

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func generation(text string) map[string][]byte {
	files := map[string][]byte{}
	for _, name := range Files {
		files[name] = []byte(text)
	}
	return files
}

// A crash at any point leaves the old files or the new ones, never a mixture,
// once the folder is opened again.
func TestCrashLeavesOneGeneration(t *testing.T) {
	staged := len(Files)
	for step := range 2*staged + 1 {
		dir := t.TempDir()
		f := must[*Folder](t)(Open(dir, false))
		if err := f.Replace(generation("old"), nil); err != nil {
			t.Fatal(err)
		}
		for i, name := range Files { // what replace does, up to the step
			if i < step {
				if err := WriteFile(f.staged(name), []byte("new"), 0o600, nil); err != nil {
					t.Fatal(err)
				}
			}
			if i < step-staged {
				if err := os.Rename(f.staged(name), f.File(name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		f.Close()
		f = must[*Folder](t)(Open(dir, false))
		want := "old"
		if step >= staged {
			want = "new"
		}
		for _, name := range Files {
			if text, _ := os.ReadFile(f.File(name)); string(text) != want {
				t.Errorf("after step %d %s is %q, want %q", step, name, text, want)
			}
		}
		if left, _ := os.ReadDir(dir); len(left) != staged {
			t.Errorf("after step %d there is %v", step, left)
		}
		f.Close()
	}
}

// TestCrashLeavesNothingBehind opens a folder in which a process was killed
// while it wrote.
func TestCrashLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	left := must[string](t)(writeTemp(dir, []byte("half a key"), 0o600, nil))
	own := filepath.Join(dir, ".new-1")
	if err := os.WriteFile(own, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	must[*Folder](t)(Open(dir, false)).Close()
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", left, err)
	}
	if _, err := os.Stat(own); err != nil {
		t.Errorf("a file of somebody else is gone: %v", err)
	}
}

func TestUntold(t *testing.T) {
	dir := t.TempDir()
	f := must[*Folder](t)(Open(dir, false))
	defer f.Close()
	before := IsUntold(dir)
	if err := f.MarkUntold(); err != nil {
		t.Fatal(err)
	}
	marked := IsUntold(dir)
	if err := errors.Join(Told(dir), Told(dir)); err != nil {
		t.Fatal(err)
	}
	if before || !marked || IsUntold(dir) {
		t.Errorf("untold at first %v, then %v, at last %v", before, marked, IsUntold(dir))
	}
}

func TestFolderIsForOneProcess(t *testing.T) {
	dir := t.TempDir()
	f := must[*Folder](t)(Open(dir, false))
	if _, err := Open(dir, false); !errors.Is(err, ErrBusy) {
		t.Errorf("a second process: %v", err)
	}
	f.Close()
	must[*Folder](t)(Open(dir, false)).Close()
}

func TestFilesHaveTheirModeAndOwner(t *testing.T) {
	dir := t.TempDir()
	owner := must[*Owner](t)(ParseOwner(strconv.Itoa(os.Getuid()) + ":" + strconv.Itoa(os.Getgid())))
	f := must[*Folder](t)(Open(dir, false))
	defer f.Close()
	if err := f.Replace(generation("x"), owner); err != nil {
		t.Fatal(err)
	}
	for _, name := range Files {
		want := fs.FileMode(0o644)
		if name == KeyFile {
			want = 0o600
		}
		if info := must[fs.FileInfo](t)(os.Stat(f.File(name))); info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), want)
		}
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

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
