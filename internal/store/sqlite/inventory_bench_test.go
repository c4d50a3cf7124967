package sqlite

import (
	"testing"

	"chancery/internal/store"
	"chancery/internal/store/storetest"
)

// BenchmarkInventory measures what must not grow with the inventory.
func BenchmarkInventory(b *testing.B) {
	s := openTest(b)
	storetest.RunInventoryBenchmark(b, s, func(list []store.Certificate) error {
		return update(b.Context(), s, "fill", func(c *conn) error {
			for i := range list {
				if err := insertCertificate(c, &list[i]); err != nil {
					return err
				}
			}
			return nil
		})
	})
}
