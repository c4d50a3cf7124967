// Package folder keeps a certificate, its key and how it was obtained in the
// files of a directory. It promises that whoever opens the directory next finds
// all files of one generation, also after a crash in the midst of a change, and
// that one process at a time changes it. It does not know where certificates
// come from.
package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"chancery/internal/keys"
)

// The files of a folder. A renewal replaces them in this order, the private
// key first, so that a program that reads the certificate and then the key
// gets no newer certificate than key.
const (
	KeyFile       = "key.pem"       // the private key, 0600
	CertFile      = "cert.pem"      // the certificate
	ChainFile     = "chain.pem"     // the intermediates, without the root
	FullchainFile = "fullchain.pem" // both
	RecordFile    = "renewal.json"  // how it was obtained: what renew needs
)

// Files are the names of all of them, in this order.
var Files = [...]string{KeyFile, CertFile, ChainFile, FullchainFile, RecordFile}

// Folder is a directory that holds one certificate, locked for one process.
//
// A change is first staged: all new files are written beside the old ones,
// under hidden names, the record last. Once the staged record is there the
// change is decided; what is left is to rename. A crash before that leaves the
// old files, a crash after it is finished by the next process that opens the
// folder.
type Folder struct {
	Path string
	lock *os.File
}

// ErrBusy is wrapped when another process has the directory.
var ErrBusy = errors.New("another process works on it")

// Open takes a directory and repairs what a crash has left. It makes the
// directory when asked to.
func Open(path string, make bool) (*Folder, error) {
	if make {
		if err := os.MkdirAll(path, 0o755); err != nil { //nolint:gosec // certificates are public; the key has its own mode
			return nil, fmt.Errorf("couldn't make the directory: %w", err)
		}
	}
	lock, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("couldn't open the directory: %w", err)
	}
	f := &Folder{path, lock}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrBusy
	}
	if err == nil {
		err = errors.Join(f.removeTemp(), f.recover())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("couldn't take %s: %w", path, err), lock.Close())
	}
	return f, nil
}

// Close lets others have it.
func (f *Folder) Close() { _ = f.lock.Close() }

// File is the path of a file by its name.
func (f *Folder) File(name string) string { return filepath.Join(f.Path, name) }

func (f *Folder) staged(name string) string { return filepath.Join(f.Path, "."+name+".next") }

// Has reports whether there is a file of that name.
func (f *Folder) Has(name string) bool {
	_, err := os.Lstat(f.File(name))
	return err == nil
}

// Replace puts files, by their names, in the place of the old ones. The record
// must be among them. A name that is missing leaves the old file. All but the
// record are given to the owner: who can write that can run commands.
func (f *Folder) Replace(files map[string][]byte, owner *Owner) error {
	for _, name := range Files {
		content, given := files[name]
		if !given {
			continue
		}
		mode, whose := fs.FileMode(0o644), owner
		switch name {
		case KeyFile:
			mode = 0o600
		case RecordFile:
			whose = nil
		}
		if err := WriteFile(f.staged(name), content, mode, whose); err != nil {
			return errors.Join(err, f.recover())
		}
	}
	return f.recover()
}

// untold marks a folder whose users have not been told yet that it is new.
const untold = ".untold"

// MarkUntold notes, before Replace, that who uses the files must be told.
func (f *Folder) MarkUntold() error { return WriteFile(f.File(untold), nil, 0o600, nil) }

// IsUntold reports whether who uses a directory's files has still to be told
// that they are new.
func IsUntold(path string) bool {
	_, err := os.Lstat(filepath.Join(path, untold))
	return err == nil
}

// Told takes that note back.
func Told(path string) error {
	err := os.Remove(filepath.Join(path, untold))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("couldn't note that the new certificate is known: %w", err)
	}
	return nil
}

// removeTemp removes what a process that was killed was writing, of which the
// key is a secret.
func (f *Folder) removeTemp() error {
	entries, err := os.ReadDir(f.Path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if left, _ := filepath.Match(tempFiles, entry.Name()); left {
			err = errors.Join(err, os.Remove(f.File(entry.Name())))
		}
	}
	return err
}

// recover finishes a change that was decided, and removes one that was not.
func (f *Folder) recover() error {
	_, err := os.Lstat(f.staged(RecordFile))
	decided := err == nil
	changed := false
	for _, name := range Files {
		if decided {
			err = os.Rename(f.staged(name), f.File(name))
		} else {
			err = os.Remove(f.staged(name))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("couldn't write %s: %w", name, err)
		}
		changed = changed || err == nil
	}
	if !changed {
		return nil
	}
	return keys.SyncDir(f.Path)
}

// WriteFile writes a file, durably and as a whole: after a crash there is the
// new one or the old one.
func WriteFile(path string, content []byte, mode fs.FileMode, owner *Owner) error {
	temp, err := writeTemp(filepath.Dir(path), content, mode, owner)
	if err == nil {
		if err = os.Rename(temp, path); err != nil {
			err = errors.Join(err, os.Remove(temp))
		}
	}
	if err == nil {
		err = keys.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("couldn't write %s: %w", path, err)
	}
	return nil
}

// tempFiles are files that are being written.
const tempFiles = ".chancery-*.part"

func writeTemp(dir string, content []byte, mode fs.FileMode, owner *Owner) (path string, err error) {
	file, err := os.CreateTemp(dir, tempFiles) // mode 0600
	if err != nil {
		return "", err
	}
	_, err = file.Write(content)
	if err == nil && owner != nil {
		err = file.Chown(owner.uid, owner.gid)
	}
	err = errors.Join(err, file.Chmod(mode), file.Sync(), file.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return file.Name(), nil
}

// CheckWritable finds out, before there is anything to lose, whether files can
// be written to a directory and given to the owner.
func CheckWritable(dir string, owner *Owner) error {
	temp, err := writeTemp(dir, nil, 0o600, owner)
	if err == nil {
		err = os.Remove(temp)
	}
	return err
}
