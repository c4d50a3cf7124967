package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/archive"
	"chancery/internal/config"
	"chancery/internal/hierarchy"
	"chancery/internal/keys"
	"chancery/internal/store/sqlite"
)

func newRestore(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "restore FILE",
		Short: "Bring a CA back from a backup",
		Long: `Bring a CA back from a backup, in a directory that nobody uses. In a new
directory it puts all there was in the old one: then serve it. In the directory
of the same CA it replaces the database only; the one that was there is kept
beside it under another name. A backup of a CA whose state is in PostgreSQL has
no database: restored in a new directory, it is another node of that CA.`,
		Args: args(1, "FILE"),
		RunE: func(cmd *cobra.Command, given []string) error {
			if err := a.restore(cmd.Context(), given[0]); err != nil {
				return fmt.Errorf("couldn't restore %s: %w", given[0], err)
			}
			return nil
		},
	}
}

func (a *app) restore(ctx context.Context, path string) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	backup, err := archive.Open(file, info.Size())
	if err != nil {
		return err
	}
	dir := a.directory()
	return inLockedDir(dir, func() (err error) {
		stage, err := os.MkdirTemp(dir, ".restore-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(stage)) }()
		if err := backup.Extract(stage); err != nil {
			return err
		}
		if err := checkBackup(ctx, stage, backup.Manifest.External); err != nil {
			return err
		}
		return a.place(&restoration{dir: dir, stage: stage, files: backup.Manifest.Others(), external: backup.Manifest.External})
	})
}

// checkBackup makes sure that there is a CA in the backup, and that its
// database, if it is there, is a whole one of Chancery's, and brings that up to
// date.
func checkBackup(ctx context.Context, stage string, external bool) error {
	for _, name := range []string{hierarchy.RootFile, hierarchy.IntermediateFile} {
		if !present(filepath.Join(stage, name)) {
			return fmt.Errorf("there is no %s in it", name)
		}
	}
	if external {
		return nil
	}
	database, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(stage, archive.Database)})
	if err != nil {
		return err
	}
	return errors.Join(database.CheckIntegrity(ctx), database.Close())
}

// place puts a backup that was found good in its place.
func (a *app) place(r *restoration) error {
	whole, err := r.compare()
	if err != nil {
		return err
	}
	c, err := a.restoredConfig(r)
	if err != nil {
		return err
	}
	if err := r.checkStore(c, whole); err != nil {
		return err
	}
	if whole {
		return a.placeDatabase(r, c)
	}
	if err := r.checkConflicts(c); err != nil {
		return err
	}
	if err := r.placeFiles(func() error { return a.placeDatabase(r, c) }); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "restored the certificate authority in %s; now run: chancery serve --dir %[1]s\n", r.dir)
	return nil
}

// restoredConfig is the configuration that the restored CA will have.
func (a *app) restoredConfig(r *restoration) (*config.Config, error) {
	options := a.loadOptions()
	staged := filepath.Join(r.stage, config.FileName)
	if options.File == "" && !present(filepath.Join(r.dir, config.FileName)) && present(staged) {
		options.File = staged
	}
	return config.Load(options)
}

// placeDatabase replaces the database, if there is one in the backup.
func (a *app) placeDatabase(r *restoration, c *config.Config) error {
	if r.external {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(c.Store.Path), 0o700); err != nil {
		return err
	}
	beside, err := moveBeside(filepath.Join(r.stage, archive.Database), c.Store.Path)
	if err != nil {
		return err
	}
	kept, err := setAside(c.Store.Path, time.Now())
	if err != nil {
		return errors.Join(fmt.Errorf("couldn't set the old database aside: %w", err), os.Remove(beside))
	}
	if err := os.Rename(beside, c.Store.Path); err != nil {
		return err
	}
	if err := keys.SyncDir(filepath.Dir(c.Store.Path)); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "restored %s\n", c.Store.Path)
	if kept != "" {
		fmt.Fprintf(a.Out, "the database that was there is now %s\n", kept)
	}
	return nil
}

// setAside gives a database another name and returns that, or "" when there was
// none. The old name stays until another database takes it, so that a crash
// leaves no directory without one: a server would begin with an empty one. The
// log must not stay: it would be taken for that of the next.
func setAside(path string, now time.Time) (kept string, err error) {
	aside := path + ".before-restore-" + now.UTC().Format("20060102T150405Z")
	err = os.Link(path, aside)
	if ignoreMissing(err) != nil {
		return "", err
	}
	if err == nil {
		kept = aside
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := ignoreMissing(os.Rename(path+suffix, aside+suffix)); err != nil {
			return "", err
		}
	}
	return kept, nil
}
