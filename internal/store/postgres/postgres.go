// Package postgres keeps all state of a certificate authority in a PostgreSQL
// database that any number of processes share. It promises what package store
// does, whatever the others do: a step that was acknowledged has been committed
// by the server, and survives whatever the server survives.
//
// Steps send as little as they can: most are one message and one answer. They
// run under READ COMMITTED and lock what must not change meanwhile; those that
// meet a rival, or lose their server, run again until a deadline, and first
// look whether they had happened. Statements have no names and no session
// keeps anything, so a pooler may stand between (PgBouncer in transaction
// mode). Issuances of different names write no row in common.
//
// It does not make durable what the server does not (synchronous_commit must
// be on, or remote_apply and the like), makes no backups, and creates no
// database.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"chancery/internal/store"
)

// Options say where the database is and what the store depends on.
type Options struct {
	// URL is postgres://user@host:port/database?sslmode=verify-full, or the
	// keywords that libpq takes. What it lacks is taken from PGHOST, PGPASSFILE
	// and the other variables of libpq.
	URL          string
	PasswordFile string           // holds the password; read for each connection. "" for none
	Now          func() time.Time // by which expiry is judged where a step is not told the time; nil is time.Now
	Connections  int              // at most so many; 0 means 16
	// Partition is the span of time whose certificates have a table of their own,
	// 0 for one table: an hour at least. It can be chosen while there are no
	// certificates yet; a database that is divided stays so.
	Partition    time.Duration
	Deadline     time.Duration // how long a step is tried; 0 means 10 s
	Transferring bool          // to move records only: opens also one that is being moved into, and does nothing beside
}

// Store is the engine for clusters. Make one with Open.
type Store struct {
	pool     *pgxpool.Pool
	now      func() time.Time
	deadline time.Duration
	span     time.Duration // Options.Partition
	few      int           // rows that are gathered at once; see search.go
	trips    atomic.Int64
	full     atomic.Int64 // when a step last failed for the server was full, in ms since 1970
	closed   atomic.Bool
	upkeep   *upkeep
}

var _ store.Shared = (*Store)(nil)

// usuallyFew is the few of every store but in tests: some milliseconds' work.
const usuallyFew = 5000

// Open connects to the database and brings it up to date.
func Open(ctx context.Context, options Options) (*Store, error) {
	s := &Store{now: options.Now, deadline: options.Deadline, span: options.Partition, few: usuallyFew}
	if s.now == nil {
		s.now = time.Now
	}
	if s.deadline <= 0 {
		s.deadline = 10 * time.Second
	}
	config, err := poolConfig(options)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the URL of the store: %w", err) // pgx leaves the password out
	}
	if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("couldn't open the store: %w", err)
	}
	if err = s.migrate(ctx); err == nil {
		err = errors.Join(s.divide(ctx), s.extendRanges(ctx))
	}
	if err == nil && !options.Transferring {
		err = s.checkTransfer(ctx)
	}
	if err != nil {
		s.pool.Close()
		return nil, fmt.Errorf("couldn't open the store %s: %w", place(config), err)
	}
	s.upkeep = startUpkeep(s, options.Transferring)
	return s, nil
}

// place is where the database is, for people.
func place(config *pgxpool.Config) string {
	c := config.ConnConfig
	return fmt.Sprintf("%q at %s port %d", c.Database, c.Host, c.Port)
}

// poolConfig fills in what does not depend on the installation. Connections
// are asked for their health only after some idle seconds: a step that finds one
// dead runs again anyway.
func poolConfig(options Options) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(options.URL)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 16
	if options.Connections > 0 {
		config.MaxConns = int32(options.Connections)
	}
	config.PingTimeout = 2 * time.Second
	config.ShouldPing = func(_ context.Context, p pgxpool.ShouldPingParams) bool { return p.IdleDuration > 10*time.Second }
	c := config.ConnConfig
	c.DefaultQueryExecMode = pgx.QueryExecModeExec // for pgx's own; ours say so themselves
	c.StatementCacheCapacity, c.DescriptionCacheCapacity = 0, 0
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 5 * time.Second
	}
	if c.ValidateConnect == nil { // as target_session_attrs does; a server that stands by is of no use
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	c.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: time.Second}
	}
	if options.PasswordFile != "" {
		config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
			text, err := os.ReadFile(options.PasswordFile)
			c.Password = strings.TrimRight(string(text), "\r\n")
			return err
		}
	}
	return config, nil
}

const (
	// updatePing writes at most once a second, but fails at once where nothing can
	// be written.
	updatePing = "UPDATE pings SET at = $1 WHERE at < $1 - 1000"
	// staysFull is how long the server counts as full after a step found it so: a
	// disk that has no room for a certificate may have some for a ping.
	staysFull = 5 * time.Second
)

// Ping implements store.Store.
func (s *Store) Ping(ctx context.Context) error {
	if full := s.now().UnixMilli() - s.full.Load(); full >= 0 && full < staysFull.Milliseconds() {
		return fmt.Errorf("couldn't write to the store: %w: a moment ago, its server lacked space", store.ErrUnavailable)
	}
	return update(ctx, s, "write to the store", func(c *conn) error {
		return c.last(do(updatePing, s.now()))
	})
}

// Queued is how many steps wait for the server now: for a connection, or for
// an answer.
func (s *Store) Queued() int { return int(s.pool.Stat().AcquiredConns()) }

// RoundTrips is how many messages the store has sent to the server since it was
// opened, each of which waited for an answer.
func (s *Store) RoundTrips() int64 { return s.trips.Load() }

// Close implements store.Store. Calls after the first do nothing.
func (s *Store) Close() error {
	s.closed.Store(true)
	s.upkeep.stop()
	s.pool.Close()
	return nil
}
