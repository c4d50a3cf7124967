package archive

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// ErrNoBackup is wrapped by Open's error for a file of another kind.
var ErrNoBackup = errors.New("it is no backup of Chancery's")

// Reader reads a backup.
type Reader struct {
	Manifest Manifest
	archive  *tar.Reader
}

// Open reads the list of what is in a backup of size octets, and refuses one
// that promises more than that, or files that don't belong into the directory
// of a CA.
func Open(r io.Reader, size int64) (*Reader, error) {
	if size == 0 {
		return nil, errors.New("the file is empty")
	}
	b := &Reader{archive: tar.NewReader(r)}
	header, err := b.archive.Next()
	if err != nil || header.Name != manifestName || header.Typeflag != tar.TypeReg || header.Size > maxManifest {
		return nil, ErrNoBackup
	}
	data, err := io.ReadAll(io.LimitReader(b.archive, maxManifest))
	if err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", manifestName, err)
	}
	if err := json.Unmarshal(data, &b.Manifest); err != nil {
		return nil, fmt.Errorf("%w: %s cannot be read", ErrNoBackup, manifestName)
	}
	return b, b.Manifest.check(size)
}

// Others are all files but the database.
func (m *Manifest) Others() []Entry {
	if m.External {
		return m.Files
	}
	return m.Files[1:]
}

func (m *Manifest) check(size int64) error {
	if m.Format != format {
		return fmt.Errorf("it is a backup of format %d, this version of chancery reads format %d", m.Format, format)
	}
	within := len(m.Files) > 0 && m.Files[0].Name == Database && m.Files[0].Size > 0
	if !within && !m.External {
		return fmt.Errorf("%w: there is no database in it", ErrNoBackup)
	}
	seen := map[string]bool{}
	for _, entry := range m.Files {
		if err := checkName(entry.Name); err != nil {
			return err
		}
		if seen[entry.Name] {
			return fmt.Errorf("it lists %s twice", entry.Name)
		}
		seen[entry.Name] = true
		if m.External && entry.Name == Database {
			return errors.New("there is a database in it, and it says that there is none")
		}
		if size -= entry.Size; entry.Size < 0 || size < 0 {
			return errors.New("it is cut off: it lists more than it holds")
		}
	}
	return nil
}

// Extract puts all files below dir, which must be empty, and makes them
// durable. The error says what is missing or is not what was backed up; dir is
// then of no use.
func (b *Reader) Extract(dir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for _, entry := range b.Manifest.Files {
		if err := b.extract(root, entry); err != nil {
			return fmt.Errorf("couldn't read %s from the backup: %w", entry.Name, err)
		}
	}
	if _, err := b.archive.Next(); !errors.Is(err, io.EOF) {
		return errors.Join(errors.New("there is more in it than it lists"), err)
	}
	return nil
}

func (b *Reader) extract(root *os.Root, entry Entry) error {
	header, err := b.archive.Next()
	switch {
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	case header.Name != entry.Name || header.Typeflag != tar.TypeReg || header.Size != entry.Size:
		return fmt.Errorf("%.80q is in its place", header.Name)
	}
	if err := root.MkdirAll(path.Dir(entry.Name), 0o700); err != nil {
		return err
	}
	const owned, shared = 0o600, 0o644
	file, err := root.OpenFile(filepath.FromSlash(entry.Name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, owned|entry.Mode&fs.FileMode(shared))
	if err != nil {
		return err
	}
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(file, hash), b.archive)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if hex.EncodeToString(hash.Sum(nil)) != entry.SHA256 {
		return errors.New("its checksum is wrong")
	}
	return nil
}
