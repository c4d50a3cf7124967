package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"chancery/internal/admin"
	"chancery/internal/config"
	"chancery/internal/observe"
	"chancery/internal/store/sqlite"
)

// lockWait is how long Connect waits for another command, or for a server that
// is just starting or ending.
const (
	lockWait  = 10 * time.Second
	lockRetry = 50 * time.Millisecond
)

// Connect returns a client of the server that runs on the directory dir. When
// none runs, it takes the directory, and the client works on the store itself:
// then only load is called, for the configuration, and audit gets the trail.
// The client must be closed.
func Connect(ctx context.Context, dir string, load func() (*config.Config, error), audit *slog.Logger) (*admin.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	socket := filepath.Join(dir, socketName)
	for {
		if answers(ctx, socket) {
			return admin.Dial(socket), nil
		}
		c, err := load()
		if err != nil {
			return nil, err
		}
		lock, err := sqlite.LockDir(dir)
		if err == nil {
			return openOffline(context.WithoutCancel(ctx), c, audit, lock.Close)
		}
		if !errors.Is(err, sqlite.ErrLocked) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("couldn't reach the server: it does not answer at %s, and %w", socket, err)
		case <-time.After(lockRetry):
		}
	}
}

// answers reports whether somebody listens on the socket.
func answers(ctx context.Context, path string) bool {
	var dialer net.Dialer
	return admin.WithSocketPath(path, func(short string) error {
		conn, err := dialer.DialContext(ctx, "unix", short)
		if err == nil {
			_ = conn.Close()
		}
		return err
	}) == nil
}

func openOffline(ctx context.Context, c *config.Config, audit *slog.Logger, unlock func() error) (*admin.Client, error) {
	database, err := sqlite.Open(ctx, sqlite.Options{Path: c.Store.Path})
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	handler := admin.New(admin.Deps{
		Store:   database,
		Backup:  database.Backup,
		Dir:     c.Dir,
		Status:  func(context.Context) admin.Status { return admin.Status{Reason: "no server runs"} },
		Auditor: observe.NewAuditor(audit),
		Now:     time.Now,
	})
	return admin.InProcess(handler, func() error { return errors.Join(database.Close(), unlock()) }), nil
}
