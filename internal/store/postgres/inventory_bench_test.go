package postgres

import (
	"os"
	"testing"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/storetest"
)

// benchURL is CHANCERY_BENCH_DATABASE, which benchmarks fill and keep, or a
// database of its own.
func benchURL(b *testing.B) string {
	if url := os.Getenv("CHANCERY_BENCH_DATABASE"); url != "" {
		return url
	}
	return theServer(b).Schema(b)
}

// BenchmarkInventory measures what must not grow with the inventory.
func BenchmarkInventory(b *testing.B) {
	options := Options{URL: benchURL(b), Connections: 8, Deadline: time.Minute}
	s := openAt(b, options)
	storetest.RunInventoryBenchmark(b, s, func(list []store.Certificate) error {
		return update(b.Context(), s, "fill", func(c *conn) error {
			var all []*query
			for i := range list {
				queries, err := entry(insertCertificate, &list[i])
				if err != nil {
					return err
				}
				all = append(all, queries...)
			}
			return c.last(all...)
		})
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			_ = openAt(b, options).Close()
		}
	})
}
