package keys

import (
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxFile is the size in octets that no key file exceeds.
const maxFile = 1 << 20

// WriteFile writes the key as PKCS#8 PEM, readable by its owner only. It never
// replaces a file: when path exists the error wraps fs.ErrExist. When it
// returns nil the file is whole and durable; after a crash it is whole or
// absent.
func WriteFile(path string, key crypto.Signer) error {
	data, err := Marshal(key)
	if err != nil {
		return err
	}
	return WriteNew(path, data, 0o600)
}

// WriteSealedFile is WriteFile for the key sealed with a passphrase (Seal).
func WriteSealedFile(path string, key crypto.Signer, passphrase []byte) error {
	data, err := Seal(rand.Reader, key, passphrase)
	if err != nil {
		return err
	}
	return WriteNew(path, data, 0o600)
}

// ReadFile reads a key file that is not sealed, in any of the forms that Parse
// knows. It refuses a file that others than its owner can read or change. The
// error wraps ErrSealed when the key is sealed.
func ReadFile(path string) (crypto.Signer, error) {
	return ReadSealedFile(path, nil)
}

// ReadSealedFile is ReadFile for a key that may be sealed. The error wraps
// ErrPassphrase when the passphrase does not open it.
func ReadSealedFile(path string, passphrase []byte) (crypto.Signer, error) {
	data, err := ReadPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the key: %w", err)
	}
	key, err := Parse(data, passphrase)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the key %s: %w", path, err)
	}
	return key, nil
}

// ReadPrivate reads a file that nobody but its owner may read or change; the
// error says how to make others so.
func ReadPrivate(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s is open to other users (mode %04o); run: chmod 600 %[1]s", path, mode)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s is too large for a secret (more than %d octets)", path, maxFile)
	}
	return data, err
}

// WriteNew writes a file that does not exist yet. When path exists it is left
// as it is, and the error wraps fs.ErrExist. When WriteNew returns nil the
// file is whole and durable under its name; after a crash it is whole or
// absent (a hidden temporary file may be left beside it).
func WriteNew(path string, data []byte, perm fs.FileMode) error {
	dir := filepath.Dir(path)
	temp, err := writeTemp(dir, data, perm)
	if err != nil {
		return fmt.Errorf("couldn't write %s: %w", path, err)
	}
	// Unlike a rename, a link never replaces a file.
	err = os.Link(temp, path)
	if failed, ok := errors.AsType[*os.LinkError](err); ok {
		err = failed.Err // without the hidden name
	}
	err = errors.Join(err, os.Remove(temp))
	if err == nil {
		err = SyncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("couldn't write %s: %w", path, err)
	}
	return nil
}

// Replace writes a file that is no secret, in the place of the one that may be
// there. When it returns nil the new one is durable; after a crash there is the
// old one or the new, whole.
func Replace(path string, data []byte, perm fs.FileMode) error {
	dir := filepath.Dir(path)
	temp, err := writeTemp(dir, data, perm)
	if err != nil {
		return fmt.Errorf("couldn't write %s: %w", path, err)
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return SyncDir(dir)
}

// writeTemp writes a durable file under a new hidden name and returns its path.
func writeTemp(dir string, data []byte, perm fs.FileMode) (path string, err error) {
	file, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Chmod(perm), file.Sync(), file.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return file.Name(), nil
}

// SyncDir makes the names in a directory durable.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
