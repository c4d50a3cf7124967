package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

// Archive is a backup that can be written.
type Archive struct {
	manifest []byte
	created  time.Time
	database string // the path of a copy that nobody changes; "" for none
	entries  []Entry
	contents [][]byte // of the entries but the database, which may change on disk
}

// New reads the files, and the checksum of a copy of the database; nobody may
// change the copy any more. It is "" where the database is elsewhere. The version
// is for the manifest.
func New(database string, sources []Source, version string, created time.Time) (*Archive, error) {
	a := &Archive{database: database, created: created.UTC().Truncate(time.Second)}
	if database != "" {
		entry, err := describe(database)
		if err != nil {
			return nil, fmt.Errorf("couldn't read the copy of the database: %w", err)
		}
		a.entries = append(a.entries, entry)
	}
	for _, source := range sources {
		if err := a.add(source); err != nil {
			return nil, fmt.Errorf("couldn't back up %s: %w", source.Path, err)
		}
	}
	var err error
	a.manifest, err = json.MarshalIndent(Manifest{
		Format: format, Version: version, Created: a.created, Files: a.entries, External: database == "",
	}, "", "  ")
	return a, err
}

// describe reads the checksum of the database.
func describe(database string) (Entry, error) {
	file, err := os.Open(database)
	if err != nil {
		return Entry{}, err
	}
	defer func() { _ = file.Close() }()
	hash := sha256.New()
	size, err := io.Copy(hash, file)
	return Entry{Name: Database, Size: size, SHA256: hex.EncodeToString(hash.Sum(nil)), Mode: 0o600}, err
}

func (a *Archive) add(source Source) error {
	if err := checkName(source.Name); err != nil {
		return err
	}
	file, err := os.Open(source.Path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return err
	}
	if len(data) > maxFile {
		return fmt.Errorf("it has more than %d octets", maxFile)
	}
	sum := sha256.Sum256(data)
	a.contents = append(a.contents, data)
	a.entries = append(a.entries, Entry{
		Name: source.Name, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), Mode: info.Mode().Perm(),
	})
	return nil
}

// Size is how many octets Write writes.
func (a *Archive) Size() (int64, error) {
	total := int64(2 * blockSize) // the end of a tar archive
	for _, header := range a.headers() {
		var b bytes.Buffer
		if err := tar.NewWriter(&b).WriteHeader(header); err != nil {
			return 0, err
		}
		blocks := (header.Size + blockSize - 1) / blockSize
		total += int64(b.Len()) + blocks*blockSize
	}
	return total, nil
}

const blockSize = 512

func (a *Archive) headers() []*tar.Header {
	headers := []*tar.Header{a.header(Entry{Name: manifestName, Size: int64(len(a.manifest)), Mode: 0o600})}
	for _, entry := range a.entries {
		headers = append(headers, a.header(entry))
	}
	return headers
}

func (a *Archive) header(e Entry) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: e.Name, Size: e.Size, Mode: int64(e.Mode), ModTime: a.created}
}

// Write writes the backup.
func (a *Archive) Write(w io.Writer) error {
	archive := tar.NewWriter(w)
	for i, header := range a.headers() {
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if err := a.writeContent(archive, i); err != nil {
			return err
		}
	}
	return archive.Close()
}

// writeContent writes what belongs to a header, by its number.
func (a *Archive) writeContent(w io.Writer, i int) error {
	others := len(a.entries) - len(a.contents) + 1 // the first header that is not the manifest's or the database's
	switch {
	case i == 0:
		_, err := w.Write(a.manifest)
		return err
	case i < others:
		file, err := os.Open(a.database)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		_, err = io.Copy(w, file)
		return err
	default:
		_, err := w.Write(a.contents[i-others])
		return err
	}
}
