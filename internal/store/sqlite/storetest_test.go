package sqlite

import (
	"path/filepath"
	"testing"

	"chancery/internal/store"
	"chancery/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return openTest(t) })
}

// TestSearches has limits so low that every way to look for certificates is
// gone.
func TestSearches(t *testing.T) {
	for name, limits := range map[string]limits{
		"walks":          {few: 1, farthest: 1000, batch: 1},
		"walks, gathers": {few: 2, farthest: 2, batch: 3},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.RunGroups(t, func(t *testing.T) store.Store {
				s, err := open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "chancery.db"), Readers: 2}, limits)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = s.Close() })
				return s
			}, "inventory")
		})
	}
}
