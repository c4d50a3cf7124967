package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/config"
	"chancery/internal/store/sqlite"
)

func newRestore(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup in the place of a directory's database",
		Long: `Put a backup in the place of the database of a directory that nobody uses. The
database that was there is kept beside it under another name.`,
		Args: args(1, "FILE"),
		RunE: func(cmd *cobra.Command, given []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			return a.restore(cmd.Context(), c, given[0])
		},
	}
}

func (a *app) restore(ctx context.Context, c *config.Config, path string) (err error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("couldn't restore: %w", err)
	}
	lock, err := sqlite.LockDir(c.Dir)
	if err != nil {
		return fmt.Errorf("couldn't restore: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	copied, err := copyBackup(ctx, path, filepath.Dir(c.Store.Path))
	if err != nil {
		return fmt.Errorf("couldn't restore %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(filepath.Dir(copied))) }()
	kept, err := setAside(c.Store.Path, time.Now())
	if err != nil {
		return fmt.Errorf("couldn't set the old database aside: %w", err)
	}
	if err := os.Rename(copied, c.Store.Path); err != nil {
		return fmt.Errorf("couldn't restore: %w", err)
	}
	fmt.Fprintf(a.Out, "restored %s\n", c.Store.Path)
	if kept != "" {
		fmt.Fprintf(a.Out, "the database that was there is now %s\n", kept)
	}
	if checkAuthority(c) != nil {
		fmt.Fprintf(a.Out, "copy the certificates and keys of the CA, and %s, to %s too\n", config.FileName, c.Dir)
	}
	return nil
}

// copyBackup copies a backup into a new directory inside dir and makes sure
// that it is a whole database of Chancery's, brought up to date.
func copyBackup(ctx context.Context, from, dir string) (path string, err error) {
	source, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer func() { _ = source.Close() }()
	private, err := os.MkdirTemp(dir, ".restore-")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(private))
		}
	}()
	path = filepath.Join(private, "store.db")
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	size, err := io.Copy(file, source)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return "", err
	}
	if size == 0 {
		return "", errors.New("the file is empty")
	}
	return path, checkBackup(ctx, path)
}

func checkBackup(ctx context.Context, path string) error {
	database, err := sqlite.Open(ctx, sqlite.Options{Path: path})
	if err != nil {
		return err
	}
	return errors.Join(database.CheckIntegrity(ctx), database.Close())
}

// setAside renames a database and its companions, and returns the new name, or
// "" when there was none.
func setAside(path string, now time.Time) (kept string, err error) {
	aside := path + ".before-restore-" + now.UTC().Format("20060102T150405Z")
	for _, suffix := range []string{"-wal", "-shm", ""} {
		err := os.Rename(path+suffix, aside+suffix)
		if err == nil && suffix == "" {
			kept = aside
		}
		if ignoreMissing(err) != nil {
			return "", err
		}
	}
	return kept, nil
}
