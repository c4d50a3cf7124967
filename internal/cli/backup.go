package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/admin"
)

func newBackup(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy the whole CA into a file, also while the server runs",
		Long: `Copy all that is needed to bring the CA back into a file, also while the server
runs: the database as it is at one moment, chancery.yaml, the certificates and
the keys. FILE - is standard output. Whoever can read the file can issue as this
CA. The passphrase of the root's key is not in it, and neither are files that
chancery.yaml names outside of the directory.

Where the state is in PostgreSQL, it is not in the file: back up the database by
its own means. "chancery restore" makes another node of the file then.`,
		Args: args(1, "FILE"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				if given[0] == "-" {
					_, external, err := c.Backup(cmd.Context(), a.Out)
					if err == nil {
						a.tellOfBackup(external)
					}
					return err
				}
				return a.backup(cmd.Context(), c, given[0], force)
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE if it exists")
	return cmd
}

// backup writes beside the file and moves the whole into place.
func (a *app) backup(ctx context.Context, c *admin.Client, path string, force bool) (err error) {
	if _, err := os.Lstat(path); err == nil && !force {
		return withHint(fmt.Errorf("couldn't back up: %s exists", path), "choose another name, or replace it with --force")
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".backup-*") // mode 0600
	if err != nil {
		return fmt.Errorf("couldn't back up: %w", err)
	}
	defer func() {
		err = errors.Join(err, ignoreMissing(os.Remove(file.Name())))
	}()
	size, external, err := c.Backup(ctx, a.progress(file))
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("couldn't back up to %s: %w", path, err)
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return fmt.Errorf("couldn't back up: %w", err)
	}
	fmt.Fprintf(a.Out, "backed up %s to %s\n", sizeText(size), path)
	a.tellOfBackup(external)
	return nil
}

// tellOfBackup says what a backup is.
func (a *app) tellOfBackup(external bool) {
	fmt.Fprintln(a.Err, "It holds the issuing keys: keep it like them.")
	if external {
		fmt.Fprintln(a.Err, "It does not hold the state, which is in PostgreSQL: back that up with pg_dump or the database's own means.")
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func sizeText(octets int64) string {
	const mebi = 1 << 20
	return fmt.Sprintf("%.1f MiB", float64(octets)/mebi)
}

// progress shows on a terminal how much was written to w.
func (a *app) progress(w io.Writer) io.Writer {
	if !isTerminal(a.Err) {
		return w
	}
	return &meter{w: w, terminal: a.Err}
}

type meter struct {
	w, terminal io.Writer
	written     int64
	shown       time.Time
}

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.w.Write(b)
	m.written += int64(n)
	if now := time.Now(); now.Sub(m.shown) > time.Second/5 {
		m.shown = now
		fmt.Fprintf(m.terminal, "\r%s\r", sizeText(m.written))
	}
	return n, err
}
