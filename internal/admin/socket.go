package admin

import (
	"fmt"
	"os"
	"path/filepath"
)

// longestSocket is what an address of a Unix socket holds on all systems.
const longestSocket = 100

// WithSocketPath calls use with a path to a Unix socket that is short enough
// for an address: path itself, or, when that is too long, one through an open
// descriptor of its directory, as Linux has it.
func WithSocketPath(path string, use func(short string) error) error {
	if len(path) <= longestSocket {
		return use(path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}
