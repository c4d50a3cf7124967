package cli

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"chancery/internal/archive"
	"chancery/internal/config"
	"chancery/internal/hierarchy"
	"chancery/internal/keys"
)

// restoration is the way of a CA's files from a staging directory to their
// places. A crash may interrupt it. The root's certificate is placed first and
// the intermediate's last, and no command works with a CA that has only one of
// them; restoring again then goes on.
type restoration struct {
	dir, stage string          // stage is inside dir
	files      []archive.Entry // but the database
	external   bool            // the state is in a database elsewhere
}

// checkStore refuses a backup that has what the configuration does not want, or
// lacks what it wants.
func (r *restoration) checkStore(c *config.Config, whole bool) error {
	switch {
	case !r.external && c.Store.URL != "":
		return errors.New("the configuration keeps the state in PostgreSQL (store.url), and the backup is of a file; restore the database by its own means")
	case r.external && c.Store.URL == "":
		return withHint(errors.New("the state of the CA in the backup is in PostgreSQL, and the configuration does not say where"),
			"set store.url, or leave out --set store=sqlite")
	case r.external && whole:
		return withHint(fmt.Errorf("the CA in the backup is in %s already, and its state is in PostgreSQL", r.dir),
			"bring the database back by its own means; copy what the directory lacks from the backup with tar")
	}
	return nil
}

// compare reports whether the directory holds the CA of the backup already. It
// is an error if it holds another one.
func (r *restoration) compare() (whole bool, err error) {
	whole = true
	for _, name := range []string{hierarchy.RootFile, hierarchy.IntermediateFile} {
		there := filepath.Join(r.dir, name)
		if !present(there) {
			whole = false
			continue
		}
		have, err := fingerprint(there)
		if err != nil {
			return false, err
		}
		backed, err := fingerprint(filepath.Join(r.stage, name))
		if err != nil {
			return false, err
		}
		if have != backed {
			return false, withHint(fmt.Errorf("%s is another CA's: it has the fingerprint %s, the one in the backup %s", there, have, backed),
				"restore into another directory")
		}
	}
	return whole, nil
}

// fingerprint is that of the first certificate in a file.
func fingerprint(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			return "", fmt.Errorf("there is no certificate in %s", path)
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return "", fmt.Errorf("couldn't read %s: %w", path, err)
		}
		return hierarchy.Fingerprint(cert), nil
	}
}

// checkConflicts refuses to replace anything that is not what the backup has.
func (r *restoration) checkConflicts(c *config.Config) error {
	for _, entry := range r.files {
		there := filepath.Join(r.dir, entry.Name)
		have, err := os.ReadFile(there)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		backed, err := os.ReadFile(filepath.Join(r.stage, entry.Name))
		if err != nil {
			return err
		}
		if !bytes.Equal(have, backed) {
			return withHint(fmt.Errorf("%s is there, and is not the one in the backup", there),
				"move it away, or restore into another directory")
		}
	}
	within, err := filepath.Rel(r.dir, c.Store.Path)
	if !r.external && (err != nil || !filepath.IsLocal(within)) && present(c.Store.Path) {
		return withHint(fmt.Errorf("the CA in the backup has its database at %s, where there is one", c.Store.Path),
			"move it away, if it is of no use")
	}
	return nil
}

// placeFiles moves everything but the database from the staging directory to
// where it belongs, and calls placeDatabase before the moment from which the
// CA can serve.
func (r *restoration) placeFiles(placeDatabase func() error) error {
	if err := r.move(hierarchy.RootFile); err != nil {
		return err
	}
	if err := keys.SyncDir(r.dir); err != nil {
		return err
	}
	for _, entry := range r.files {
		if entry.Name == hierarchy.RootFile || entry.Name == hierarchy.IntermediateFile {
			continue
		}
		if err := r.move(entry.Name); err != nil {
			return err
		}
	}
	if err := placeDatabase(); err != nil {
		return err
	}
	if err := keys.SyncDir(r.dir); err != nil {
		return err
	}
	if err := r.move(hierarchy.IntermediateFile); err != nil {
		return err
	}
	return keys.SyncDir(r.dir)
}

// move moves one file, and makes its name durable where it is not directly in
// the directory.
func (r *restoration) move(name string) error {
	to := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(r.stage, name), to); err != nil {
		return err
	}
	for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
		if err := keys.SyncDir(filepath.Join(r.dir, dir)); err != nil {
			return err
		}
	}
	return nil
}

// moveBeside moves a file, from another file system too, to a name beside its
// target, from where a rename puts it in place. Nothing is left at an error.
func moveBeside(path, target string) (beside string, err error) {
	beside = target + ".restoring"
	if err := os.Rename(path, beside); !errors.Is(err, syscall.EXDEV) {
		return beside, err
	}
	from, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = from.Close() }()
	to, err := os.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Sync(), to.Close()); err != nil {
		return "", errors.Join(err, os.Remove(beside))
	}
	return beside, nil
}

// present reports whether there is anything by that name, or may be.
func present(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
