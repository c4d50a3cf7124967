// Package sqlite keeps all state of a certificate authority in one file. It
// promises what package store does: a step that was acknowledged survives the
// loss of power. One goroutine writes, and groups the steps that wait at the
// same moment into one transaction; reads have connections of their own and
// never wait for it.
//
// It does not keep other processes off the file: take LockDir before Open.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/ext/fts5"

	"chancery/internal/store"
)

// Options say where the store is and what it depends on.
type Options struct {
	Path    string           // the file; made when it does not exist
	Now     func() time.Time // by which expiry is judged where a step is not told the time; nil is time.Now
	Readers int              // how many can read at the same moment; 0 means 4
	VFS     string           // the registered SQLite VFS to use; "" is the operating system's
	// Transferring is to move records only: it opens also one that is being moved
	// into.
	Transferring bool
}

// Store is the embedded engine. Make one with Open.
type Store struct {
	path    string
	vfs     string
	now     func() time.Time
	limits  limits
	recent  *recent
	writer  *writer
	readers *readers

	transferring bool // as in Options
}

var _ store.Store = (*Store)(nil)

// minVersion is the first SQLite without the bug by which resetting the
// write-ahead log could corrupt the file.
const minVersion = 3_051_003

// Open opens the store, makes it when there is none, and brings an older one
// up to date. The file and its companions get mode 0600.
func Open(ctx context.Context, options Options) (*Store, error) {
	return open(ctx, options, usualLimits())
}

func open(ctx context.Context, options Options, limits limits) (*Store, error) {
	s := &Store{path: options.Path, vfs: options.VFS, now: options.Now, limits: limits, transferring: options.Transferring}
	if s.now == nil {
		s.now = time.Now
	}
	if options.Readers <= 0 {
		options.Readers = 4
	}
	if err := s.open(ctx, options.Readers); err != nil {
		return nil, fmt.Errorf("couldn't open the store %s: %w", options.Path, err)
	}
	go s.writer.run()
	return s, nil
}

func (s *Store) open(ctx context.Context, readers int) (err error) {
	if err := createFile(s.path); err != nil {
		return err
	}
	s.vfs = gather(s.vfs)
	w, err := s.openWriter(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if err := protect(s.path); err != nil {
		return err
	}
	if s.readers, err = s.openReaders(ctx, readers); err != nil {
		return err
	}
	s.recent = newRecent()
	s.recent.watch(w)
	s.writer = &writer{conn: w, queue: make(chan *member, maxQueue), ended: make(chan struct{})}
	return nil
}

// createFile makes an empty file, which is an empty database, that only its
// owner can read.
func createFile(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return file.Close()
}

// protect takes everybody else's rights from the file, its log and its shared
// memory: SQLite makes the latter two with the rights that umask leaves.
func protect(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Chmod(path+suffix, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// openWriter opens the writing connection: the first, it also checks and
// migrates the file. synchronous=FULL syncs the log at every commit. Checkpoints
// come every 1000 pages: fewer and larger ones measured worse waits, and a
// checkpointer of its own let the log grow without bound.
func (s *Store) openWriter(ctx context.Context) (*conn, error) {
	c, err := s.connect(ctx, `
		PRAGMA synchronous = FULL;
		PRAGMA wal_autocheckpoint = 1000;
		PRAGMA journal_size_limit = 67108864;
		PRAGMA cache_size = -16384;`)
	if err != nil {
		return nil, err
	}
	for _, prepare := range []func(*conn) error{checkVersion, checkFile, useLog, migrate, s.checkServed, backfill} {
		if err := prepare(c); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	return c, nil
}

func (s *Store) openReaders(ctx context.Context, n int) (*readers, error) {
	r := &readers{idle: make(chan *conn, n), ended: make(chan struct{})}
	for range n {
		c, err := s.connect(ctx, "PRAGMA query_only = ON;")
		if err != nil {
			for range len(r.idle) {
				err = errors.Join(err, (<-r.idle).close())
			}
			return nil, err
		}
		r.idle <- c
	}
	return r, nil
}

// connect opens a connection and sets it up. The busy timeout covers the short
// locks of recovery and of the log's reset.
func (s *Store) connect(ctx context.Context, pragmas string) (*conn, error) {
	name := url.URL{Scheme: "file", Path: filepath.ToSlash(s.path), OmitHost: true}
	if !filepath.IsAbs(s.path) {
		name = url.URL{Scheme: "file", Opaque: (&url.URL{Path: filepath.ToSlash(s.path)}).EscapedPath()}
	}
	name.RawQuery = url.Values{"vfs": {s.vfs}}.Encode()
	raw, err := sqlite3.OpenContext(ctx, name.String())
	if err != nil {
		return nil, err
	}
	err = raw.Exec("PRAGMA busy_timeout = 5000; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;" + pragmas)
	if err != nil {
		return nil, errors.Join(notADatabase(err), raw.Close())
	}
	if err := errors.Join(fts5.Register(raw), addFunctions(raw)); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return &conn{Conn: raw, prepared: map[string]*sqlite3.Stmt{}, limits: s.limits}, nil
}

const selectVersion = "SELECT sqlite_version()"

func checkVersion(c *conn) error {
	var text string
	if err := c.once(func(r *row) { text = r.text() }, selectVersion); err != nil {
		return err
	}
	var major, minor, patch int
	if _, err := fmt.Sscanf(text, "%d.%d.%d", &major, &minor, &patch); err != nil {
		return fmt.Errorf("couldn't read SQLite's version %q: %w", text, err)
	}
	if major*1_000_000+minor*1_000+patch < minVersion {
		return fmt.Errorf("it needs SQLite 3.51.3 or later, this program has %s", text)
	}
	return nil
}

// useLog turns on write-ahead logging, which stays with the file.
func useLog(c *conn) error {
	var mode string
	if err := c.once(func(r *row) { mode = r.text() }, "PRAGMA journal_mode = WAL"); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("its file system has no shared memory, which write-ahead logging needs (journal mode is %q)", mode)
	}
	return nil
}

const updatePing = "UPDATE pings SET at = ?"

// Ping implements store.Store. It writes, for only that notices a full disk.
func (s *Store) Ping(ctx context.Context) error {
	return update(ctx, s, "write to the store", func(c *conn) error {
		_, err := c.exec(updatePing, s.now())
		return err
	})
}

// Queued is how many steps wait for the writer now.
func (s *Store) Queued() int { return len(s.writer.queue) }

// CheckIntegrity reads the whole file and reports the first damage it finds.
func (s *Store) CheckIntegrity(ctx context.Context) error {
	_, err := read(ctx, s, "check the store's integrity", func(c *conn) (struct{}, error) {
		damage := ""
		err := c.once(func(r *row) { damage = r.text() }, "PRAGMA integrity_check(1)")
		if err == nil && damage != "ok" {
			err = fmt.Errorf("the store is damaged: %s", damage)
		}
		return struct{}{}, err
	})
	return err
}

// Close implements store.Store. Calls after the first do nothing.
func (s *Store) Close() error {
	if !s.writer.close() {
		return nil
	}
	s.recent.close()
	if err := errors.Join(s.readers.close(), s.writer.conn.close()); err != nil {
		return fmt.Errorf("couldn't close the store: %w", err)
	}
	return nil
}
