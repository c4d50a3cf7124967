package postgres

import (
	"testing"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return openTest(t) })
}

// TestSearches has a limit so low that listings are walked.
func TestSearches(t *testing.T) {
	storetest.RunGroups(t, func(t *testing.T) store.Store {
		s := openTest(t)
		s.few = 2
		return s
	}, "inventory")
}

// TestDivided has the certificates in partitions.
func TestDivided(t *testing.T) {
	storetest.RunGroups(t, func(t *testing.T) store.Store {
		return openAt(t, Options{URL: theServer(t).Schema(t), Connections: 8, Partition: time.Hour})
	}, "certificates", "services", "partitions", "revocation lists", "tidy")
}

func TestShared(t *testing.T) {
	storetest.RunShared(t, func(t *testing.T) store.Shared { return openTest(t) })
}
