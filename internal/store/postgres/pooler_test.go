package postgres

import (
	"testing"

	"chancery/internal/store"
	"chancery/internal/store/storetest"
)

// TestThroughPgBouncer has a pooler between store and server that gives each
// transaction another of a few connections. It leaves out searches, which take
// long and are single statements.
func TestThroughPgBouncer(t *testing.T) {
	server := theServer(t)
	pooled := server.NewPooler(t)
	open := func(t *testing.T) *Store {
		return openAt(t, Options{URL: pooled(server.Database(t)), Connections: 8})
	}
	storetest.RunGroups(t, func(t *testing.T) store.Store { return open(t) },
		"accounts", "issuance", "one-time tokens", "tidy")
	storetest.RunShared(t, func(t *testing.T) store.Shared { return open(t) })
}
