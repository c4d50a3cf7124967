// Package archive writes and reads the file that a backup of a CA is: a tar
// archive of its database, its configuration, its certificates and its keys,
// with a list of them and their checksums as the first entry. Where the state is
// in a database elsewhere, it is not in the archive, which says so.
//
// It promises that what Extract has put into a directory is complete, is what
// was written, and is in that directory. It seals nothing: a backup is as
// secret as the keys in it. It does not look into the files.
package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"chancery/internal/config"
	"chancery/internal/hierarchy"
)

// Database is the name of the database in backups that have one.
const Database = "chancery.db"

const (
	manifestName = "backup.json"
	format       = 1
	maxManifest  = 16 << 20 // octets
	maxFile      = 64 << 20 // octets of any file but the database
	issuersDir   = "issuers"
)

// Manifest lists what is in a backup.
type Manifest struct {
	Format  int       `json:"format"`
	Version string    `json:"version,omitempty"` // of the server that made it; "" without one
	Created time.Time `json:"created"`
	Files   []Entry   `json:"files"` // in the order of the archive
	// External says that the state is in a database elsewhere.
	External bool `json:"external_database,omitempty"`
}

// Entry is one file.
type Entry struct {
	Name   string      `json:"name"` // relative to the directory of the CA, with slashes
	Size   int64       `json:"size"` // octets
	SHA256 string      `json:"sha256"`
	Mode   fs.FileMode `json:"mode"` // permissions
}

// Source is a file to back up.
type Source struct {
	Name string // as in Entry
	Path string // where it is now
}

// Collect lists the files of the CA that c configures, but its database: those
// there are of the configuration, the certificates and the keys. Files that the
// configuration names outside of the directory are not among them.
func Collect(c *config.Config) (sources []Source, err error) {
	candidates := []Source{{config.FileName, c.File()}}
	names := append([]string{
		hierarchy.RootFile, hierarchy.RootKeyFile, hierarchy.RootListFile,
		hierarchy.IntermediateFile, hierarchy.KeyFile, hierarchy.RequestFile,
	}, c.NamedFiles()...)
	later, err := issuerFiles(c.Dir)
	if err != nil {
		return nil, err
	}
	for _, name := range append(names, later...) {
		candidates = append(candidates, Source{filepath.ToSlash(name), filepath.Join(c.Dir, name)})
	}
	seen := map[string]bool{}
	for _, source := range candidates {
		info, err := os.Stat(source.Path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() || seen[source.Name] {
			continue
		}
		if err != nil {
			return nil, err
		}
		seen[source.Name] = true
		sources = append(sources, source)
	}
	return sources, nil
}

// issuerFiles lists what is in issuers/, relative to dir, but for what is being
// made at this moment.
func issuerFiles(dir string) (names []string, err error) {
	top := filepath.Join(dir, issuersDir)
	err = filepath.WalkDir(top, func(at string, entry fs.DirEntry, err error) error {
		switch {
		case at == top && errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(entry.Name(), "."):
			return filepath.SkipDir
		case entry.IsDir() || entry.Name() == "lock":
			return nil
		}
		name, err := filepath.Rel(dir, at)
		names = append(names, name)
		return err
	})
	return names, err
}

// checkName refuses names that lead out of the directory, or to what must never
// come from a backup: sockets and locks, the log of another database, what is
// half made, and the passphrase of the root's key.
func checkName(name string) error {
	if !fs.ValidPath(name) || name == "." || !filepath.IsLocal(filepath.FromSlash(name)) || strings.ContainsAny(name, "\\\x00") {
		return fmt.Errorf("%.80q is no name of a file in the directory of a CA", name)
	}
	switch path.Base(name) {
	case manifestName, Database + "-wal", Database + "-shm", Database + "-journal", "lock", "admin.sock", "root-passphrase.txt":
		return fmt.Errorf("%.80q does not belong into a backup", name)
	}
	for _, staging := range []string{".ca-", ".backup-", ".restore-"} {
		if strings.HasPrefix(name, staging) {
			return fmt.Errorf("%.80q does not belong into a backup", name)
		}
	}
	return nil
}
