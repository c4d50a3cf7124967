package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Backup copies the store as it is at one moment into a new file, while steps
// go on. The copy is a store of its own: it opens with Open. The error is
// fs.ErrExist to errors.Is when there is a file at path already; at any error
// no file is left there.
func (s *Store) Backup(ctx context.Context, path string) error {
	if err := s.backup(ctx, path); err != nil {
		return fmt.Errorf("couldn't back up the store to %s: %w", path, err)
	}
	return nil
}

func (s *Store) backup(ctx context.Context, path string) (err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fs.ErrExist, err)
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".backup-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, file.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	if err := s.copyInto(ctx, file.Name()); err != nil {
		return err
	}
	if err := makeStale(ctx, file.Name()); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

const (
	vacuumInto            = "VACUUM INTO ?"
	updatePartitionsStale = "UPDATE partitions SET changed = changed + 1 WHERE ended = 0"
)

// copyInto writes the store into an empty file. It has a connection of its own,
// so that the store's readers are not held up.
func (s *Store) copyInto(ctx context.Context, path string) (err error) {
	c, err := s.connect(ctx, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	c.SetInterrupt(ctx)
	defer c.SetInterrupt(context.Background())
	_, err = c.exec(vacuumInto, path)
	return err
}

// makeStale has a copy's revocation lists made anew as soon as it is in use:
// relying parties may have seen later ones than it holds.
func makeStale(ctx context.Context, path string) (err error) {
	c, err := (&Store{path: path}).connect(ctx, "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF;")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	_, err = c.exec(updatePartitionsStale)
	return err
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
