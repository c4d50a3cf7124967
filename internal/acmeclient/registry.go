package acmeclient

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Registry is a directory that knows where certificates are kept: each folder is
// a symbolic link in it. "" is one that knows nothing.
type Registry string

// add notes a folder.
func (r Registry) add(dir string) error {
	if r == "" {
		return nil
	}
	path, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(string(r), 0o700)
	}
	if err == nil {
		sum := sha256.Sum256([]byte(path))
		err = os.Symlink(path, filepath.Join(string(r), hex.EncodeToString(sum[:8])))
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("couldn't note where the certificate is, so it will only be renewed when it is named: %w", err)
	}
	return nil
}

// Folders are those of the noted folders that still hold a certificate.
func (r Registry) Folders() ([]string, error) {
	links, err := filepath.Glob(filepath.Join(string(r), "*"))
	if err != nil || r == "" {
		return nil, err
	}
	var found []string
	for _, link := range links {
		dir, err := os.Readlink(link)
		if err != nil {
			return nil, fmt.Errorf("couldn't find out where certificates are: %w", err)
		}
		if IsFolder(dir) {
			found = append(found, dir)
		}
	}
	return found, nil
}
