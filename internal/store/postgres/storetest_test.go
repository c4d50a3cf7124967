package postgres

import (
	"testing"

	"chancery/internal/store"
	"chancery/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return openTest(t) })
}

// TestSearches has a limit so low that listings are walked.
func TestSearches(t *testing.T) {
	storetest.RunInventory(t, func(t *testing.T) store.Store {
		s := openTest(t)
		s.few = 2
		return s
	})
}

func TestShared(t *testing.T) {
	storetest.RunShared(t, func(t *testing.T) store.Shared { return openTest(t) })
}
