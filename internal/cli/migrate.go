package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/config"
	"chancery/internal/duration"
	"chancery/internal/store/postgres"
	"chancery/internal/store/sqlite"
	"chancery/internal/store/transfer"
)

// migrateFlags are what "migrate" is told.
type migrateFlags struct {
	from, to, passwordFile, partition string
	asJSON                            bool
}

func newMigrate(a *app) *cobra.Command {
	f := &migrateFlags{}
	cmd := &cobra.Command{
		Use:   "migrate --from STORE --to STORE",
		Short: "Move the state of a CA into another database",
		Long: `Move all records of a CA from one store into another, empty one. STORE is
sqlite:DIR, for the database in the directory of a CA, or the postgres:// URL of a
database. Keys, certificates and chancery.yaml stay where they are.

Stop the server first, or all nodes of a cluster. At the end both stores are read
again and compared. A migration that was broken off goes on when the same command
is called again; until it has ended, no server takes the new store.`,
		Example: `  chancery migrate --from sqlite:/var/lib/chancery --to 'postgres://chancery@db.corp.example/chancery?sslmode=verify-full' --password-file password
  chancery migrate --from 'postgres://chancery@db.corp.example/chancery?sslmode=verify-full' --to sqlite:/var/lib/chancery`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := parsePlace("--from", f.from)
			if err != nil {
				return err
			}
			to, err := parsePlace("--to", f.to)
			if err != nil {
				return err
			}
			return a.migrate(cmd.Context(), from, to, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "", "where the state is: sqlite:DIR or postgres://…")
	flags.StringVar(&f.to, "to", "", "where it shall be: sqlite:DIR or postgres://…")
	flags.StringVar(&f.passwordFile, "password-file", "", "file with the password of the PostgreSQL database")
	flags.StringVar(&f.partition, "partition", "0s", "keep certificates in --to in a table for each such span of time, as store.partition")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	_ = cmd.MarkFlagFilename("password-file") // fails only for flags there are not
	return cmd
}

// place is where a store is: a directory, or else a URL.
type place struct{ dir, url string }

func parsePlace(flag, text string) (place, error) {
	if dir, ok := strings.CutPrefix(text, "sqlite:"); ok && dir != "" {
		return place{dir: dir}, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return place{}, usagef("%s says no store: write sqlite:DIR or postgres://USER@HOST/DATABASE", flag)
	}
	if _, secret := u.User.Password(); secret || u.Query().Has("password") {
		return place{}, usagef("%s has a password in it, which everybody on the machine can see: name a file with it by --password-file", flag)
	}
	return place{url: text}, nil
}

// movable is a store whose records can be moved.
type movable struct {
	transfer.Destination
	close func() error
}

// transferDeadline is how long a step on PostgreSQL is tried: it reads or writes
// hundreds of records, and nobody waits for it.
const transferDeadline = 2 * time.Minute

func (a *app) migrate(ctx context.Context, from, to place, f *migrateFlags) (err error) {
	var span duration.Duration
	if span, err = duration.Parse(f.partition); err != nil || span != 0 && (to.url == "" || span.Std() < time.Hour) {
		return usagef("--partition takes a span of time of 1h or more, as 30d, for a PostgreSQL database")
	}
	source, err := a.openSource(ctx, from, f.passwordFile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.close()) }()
	destination, err := a.openDestination(ctx, to, f.passwordFile, span.Std())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, destination.close()) }()
	display := &migrateDisplay{out: a.Err, live: isTerminal(a.Err)}
	started := time.Now()
	m := transfer.Migration{From: source, To: destination, Progress: display.show}
	results, err := m.Run(ctx)
	display.end()
	if err != nil {
		return explainMigration(ctx, err)
	}
	return a.printMigration(results, time.Since(started), to, f.asJSON)
}

func (a *app) openSource(ctx context.Context, p place, passwordFile string) (*movable, error) {
	if p.url != "" {
		return openServer(ctx, postgres.Options{URL: p.url, PasswordFile: passwordFile})
	}
	return a.openFile(ctx, p.dir, true)
}

func (a *app) openDestination(ctx context.Context, p place, passwordFile string, span time.Duration) (*movable, error) {
	if p.url != "" {
		return openServer(ctx, postgres.Options{URL: p.url, PasswordFile: passwordFile, Partition: span})
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, fmt.Errorf("couldn't make the directory: %w", err)
	}
	return a.openFile(ctx, p.dir, false)
}

func openServer(ctx context.Context, options postgres.Options) (*movable, error) {
	options.Deadline, options.Connections, options.Transferring = transferDeadline, 4, true
	s, err := postgres.Open(ctx, options)
	if err != nil {
		return nil, err
	}
	return &movable{s.Transfer(), s.Close}, nil
}

// openFile takes the directory of a CA and opens the database in it, which may
// have to be there.
func (a *app) openFile(ctx context.Context, dir string, present bool) (*movable, error) {
	c, err := config.Load(config.LoadOptions{Dir: dir, Environ: a.Environ, Set: a.set})
	if err != nil {
		return nil, err
	}
	lock, err := sqlite.LockDir(dir)
	if err != nil {
		return nil, err
	}
	if present {
		_, err = os.Stat(c.Store.Path)
	}
	var s *sqlite.Store
	if err == nil {
		s, err = sqlite.Open(ctx, sqlite.Options{Path: c.Store.Path, Transferring: true})
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &movable{s.Transfer(), func() error { return errors.Join(s.Close(), lock.Close()) }}, nil
}

// explainMigration adds what to do now.
func explainMigration(ctx context.Context, err error) error {
	err = fmt.Errorf("couldn't migrate: %w", err)
	switch {
	case errors.Is(err, transfer.ErrNotEmpty), errors.Is(err, transfer.ErrOtherSource):
		return withHint(err, "make an empty database, or move chancery.db out of the directory, and migrate into that")
	case errors.Is(err, transfer.ErrInUse):
		return withHint(err, "stop all nodes; one that was killed counts as stopped half a minute later")
	case errors.Is(err, transfer.ErrDifferent):
		return withHint(err, "something has changed one of the two meanwhile; empty the new store, and begin again")
	case ctx.Err() != nil:
		return withHint(err, "call the same command again to go on")
	default:
		return err
	}
}

func (a *app) printMigration(results []transfer.Result, took time.Duration, to place, asJSON bool) error {
	if asJSON {
		type kind struct {
			Kind   string `json:"kind"`
			Count  int64  `json:"count"`
			SHA256 string `json:"sha256"`
		}
		list := make([]kind, len(results))
		for i := range results {
			list[i] = kind{results[i].Kind, results[i].Sum.Count, results[i].Sum.String()}
		}
		return printJSON(a.Out, list)
	}
	total := int64(0)
	err := printTable(a.Out, a.Err, "RECORDS COUNT SUM-OF-SHA-256", each(results), func(r transfer.Result) []string {
		total += r.Sum.Count
		return []string{r.Kind, fmt.Sprint(r.Sum.Count), r.Sum.String()[:32]}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "moved %d records in %s; both stores have the same\n", total, took.Round(time.Second/10))
	if to.url != "" {
		fmt.Fprintln(a.Out, "now set store.url and store.password_file in chancery.yaml, and serve")
	} else {
		fmt.Fprintf(a.Out, "now remove store.url and store.password_file from %s/%s, and serve\n", to.dir, config.FileName)
	}
	return nil
}

// migrateDisplay shows how far a migration is: on a terminal in a line that is
// written again and again, else in one for each kind of record.
type migrateDisplay struct {
	out   io.Writer
	live  bool
	step  transfer.Step
	kind  string
	shown time.Time
}

func (d *migrateDisplay) show(p transfer.Progress) {
	if d.step == p.Step && d.kind == p.Kind && (!d.live || time.Since(d.shown) < time.Second/5) {
		return
	}
	d.step, d.kind, d.shown = p.Step, p.Kind, time.Now()
	text := string(p.Step)
	if p.Kind != "" {
		text += " " + strings.ReplaceAll(p.Kind, "_", " ")
	}
	switch {
	case p.Total > 0 && d.live:
		fmt.Fprintf(d.out, "\r\x1b[K%s  %d of %d", text, p.Done, p.Total)
	case d.live:
		fmt.Fprintf(d.out, "\r\x1b[K%s", text)
	case p.Total > 0:
		fmt.Fprintf(d.out, "%s, %d\n", text, p.Total)
	case p.Kind == "":
		fmt.Fprintln(d.out, text)
	}
}

func (d *migrateDisplay) end() {
	if d.live {
		fmt.Fprint(d.out, "\r\x1b[K")
	}
}
