package hierarchy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"chancery/internal/keys"
)

// The files of a CA appear in its directory all or none. They are written to
// the staging directory first. The rename of that to the ready directory is
// the moment of decision: a crash before leaves nothing but a staging
// directory, which the next attempt removes; after it, finish puts the files
// in their places, as often as it takes.
const (
	staging = ".ca-staging"
	ready   = ".ca-ready"
)

type file struct {
	name string
	data []byte
	perm fs.FileMode
}

// checkVacant finishes what a crash interrupted and returns an error that wraps
// ErrExists if any of the names is taken in the directory.
func checkVacant(dir string, names ...string) error {
	if err := finish(dir); err != nil {
		return err
	}
	for _, name := range names {
		if path := filepath.Join(dir, name); exists(path) {
			return fmt.Errorf("%w: %s is never overwritten; choose another directory", ErrExists, path)
		}
	}
	return nil
}

// establish builds the files of a CA and installs them, in a directory that
// has none.
func establish(dir string, build func() ([]file, error)) error {
	if err := checkVacant(dir, RootFile, RootKeyFile, RootListFile, IntermediateFile, KeyFile, RequestFile); err != nil {
		return err
	}
	files, err := build()
	if err != nil {
		return err
	}
	return install(dir, files)
}

// install puts the files into the directory, which it makes when there is
// none, all or none.
func install(dir string, files []file) error {
	for _, step := range installSteps(dir, files) {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// installSteps are what install does, one by one, so that a test can stop
// between any two.
func installSteps(dir string, files []file) []func() error {
	from, to := filepath.Join(dir, staging), filepath.Join(dir, ready)
	steps := []func() error{
		func() error { return os.MkdirAll(dir, 0o700) },
		func() error { return keys.SyncDir(filepath.Dir(filepath.Clean(dir))) },
		func() error { return os.RemoveAll(from) },
		func() error { return os.Mkdir(from, 0o700) },
	}
	for _, f := range files {
		steps = append(steps, func() error { return keys.WriteNew(filepath.Join(from, f.name), f.data, f.perm) })
	}
	steps = append(steps,
		func() error { return os.Rename(from, to) },
		func() error { return keys.SyncDir(dir) })
	for _, f := range files {
		steps = append(steps, func() error { return place(dir, f.name) })
	}
	return append(steps, func() error { return finish(dir) })
}

// finish puts in place what is ready, if anything is.
func finish(dir string) error {
	entries, err := os.ReadDir(filepath.Join(dir, ready))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := place(dir, entry.Name()); err != nil {
			return err
		}
	}
	if err := keys.SyncDir(dir); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(dir, ready))
}

// place links a file that is ready to its place, unless it is there.
func place(dir, name string) error {
	from, to := filepath.Join(dir, ready, name), filepath.Join(dir, name)
	err := os.Link(from, to)
	if errors.Is(err, fs.ErrExist) && sameFile(from, to) {
		return nil
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %s is not the file that %s would put there; move one of them away", ErrExists, to, from)
	}
	return err
}

func sameFile(a, b string) bool {
	first, err := os.Lstat(a)
	if err != nil {
		return false
	}
	second, err := os.Lstat(b)
	return err == nil && os.SameFile(first, second)
}
