package postgres

import (
	"os"
	"testing"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/storetest"
)

// BenchmarkInventory measures what must not grow with the inventory: that of
// CHANCERY_BENCH_DATABASE, which it fills and keeps, or one of its own.
func BenchmarkInventory(b *testing.B) {
	url := os.Getenv("CHANCERY_BENCH_DATABASE")
	if url == "" {
		url = theServer(b).Database(b)
	}
	s := openAt(b, Options{URL: url, Connections: 4, Deadline: time.Minute})
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
}
