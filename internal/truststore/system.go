package truststore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// family is how one kind of system keeps its roots: files in a directory, and a
// program that makes the rest of them.
type family struct {
	dir, suffix, program string
	install, uninstall   []string // the program's arguments
}

// families in the order in which they are looked for. Debian's program leaves
// links to a file that is gone, unless it makes all of them anew.
var families = []family{
	{"/etc/pki/ca-trust/source/anchors", ".pem", "update-ca-trust", []string{"extract"}, []string{"extract"}},
	{"/etc/ca-certificates/trust-source/anchors", ".crt", "update-ca-trust", nil, nil},
	{"/etc/pki/trust/anchors", ".pem", "update-ca-certificates", nil, nil},
	{"/usr/local/share/ca-certificates", ".crt", "update-ca-certificates", nil, []string{"--fresh"}},
}

// System is the store of the operating system. The error wraps ErrAbsent when
// it is of no known kind.
func (h Host) System() (Store, error) {
	for _, family := range families {
		program, err := h.LookPath(family.program)
		if err != nil {
			continue
		}
		// Debian's directory for local roots may be absent, its parent never is.
		if _, err := os.Stat(filepath.Join(h.Prefix, filepath.Dir(family.dir))); err == nil {
			family.program = program
			return &system{h, family}, nil
		}
	}
	return nil, fmt.Errorf("the system's store: %w: neither update-ca-certificates (Debian: package ca-certificates) nor update-ca-trust (Red Hat)", ErrAbsent)
}

type system struct {
	Host
	family
}

func (s *system) Name() string { return "system" }

func (s *system) path(root *Root) string {
	return filepath.Join(s.Prefix, s.dir, root.name()+s.suffix)
}

func (s *system) Install(ctx context.Context, root *Root) (bool, error) {
	path := s.path(root)
	if present, err := os.ReadFile(path); err == nil && bytes.Equal(present, root.pem()) {
		return false, nil
	}
	err := os.MkdirAll(filepath.Dir(path), 0o755) //nolint:gosec // as the package makes it
	if err == nil {
		err = os.WriteFile(path, root.pem(), 0o644) //nolint:gosec // for all to read
	}
	if err != nil {
		return false, fmt.Errorf("couldn't install the root: %w", err)
	}
	if _, err := s.Run(ctx, s.program, s.install...); err != nil {
		return false, errors.Join(err, os.Remove(path)) // so that the next attempt does all of it
	}
	return true, nil
}

func (s *system) Uninstall(ctx context.Context, root *Root) (bool, error) {
	err := os.Remove(s.path(root))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("couldn't uninstall the root: %w", err)
	}
	_, err = s.Run(ctx, s.program, s.uninstall...)
	return true, err
}
