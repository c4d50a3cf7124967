package server

import (
	"context"
	"time"

	"chancery/internal/config"
	"chancery/internal/store"
	"chancery/internal/store/postgres"
	"chancery/internal/store/sqlite"
)

// database is a store with what only its operator wants of it.
type database interface {
	store.Store
	// Queued is how many steps wait for the store now.
	Queued() int
}

// openDatabase opens the store that is configured.
func openDatabase(ctx context.Context, c *config.Config, now func() time.Time) (database, error) {
	if c.Store.URL == "" {
		return sqlite.Open(ctx, sqlite.Options{Path: c.Store.Path, Now: now})
	}
	return postgres.Open(ctx, postgres.Options{
		URL: c.Store.URL, PasswordFile: c.Store.PasswordFile, Connections: c.Store.Connections, Partition: c.Store.Partition.Std(), Now: now,
	})
}

// backupOf copies a store into a new file; nil for one in a database that
// somebody else runs.
func backupOf(of database) func(ctx context.Context, path string) error {
	if file, ok := of.(*sqlite.Store); ok {
		return file.Backup
	}
	return nil
}
