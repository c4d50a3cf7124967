package server

import (
	"context"
	"time"

	"chancery/internal/config"
	"chancery/internal/failure"
	"chancery/internal/store"
	"chancery/internal/store/postgres"
	"chancery/internal/store/sqlite"
)

// database is a store with what only its operator wants of it.
type database interface {
	store.Store
	// Backup copies the store into a new file.
	Backup(ctx context.Context, path string) error
	// Queued is how many steps wait for the store now.
	Queued() int
}

// openDatabase opens the store that is configured.
func openDatabase(ctx context.Context, c *config.Config, now func() time.Time) (database, error) {
	if c.Store.URL == "" {
		return sqlite.Open(ctx, sqlite.Options{Path: c.Store.Path, Now: now})
	}
	opened, err := postgres.Open(ctx, postgres.Options{
		URL: c.Store.URL, PasswordFile: c.Store.PasswordFile, Connections: c.Store.Connections, Partition: c.Store.Partition.Std(), Now: now,
	})
	if err != nil {
		return nil, err
	}
	return served{opened}, nil
}

// served is a store in a database that somebody else runs.
type served struct{ *postgres.Store }

// Backup says who makes backups.
func (served) Backup(context.Context, string) error {
	return failure.New(failure.Malformed, "the state of this CA is in PostgreSQL: back that up with pg_dump or the database's own means, and copy the directory of the CA, which has the keys and the configuration")
}
