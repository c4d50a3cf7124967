package transfer_test

import (
	"testing"
	"time"

	"chancery/internal/store/transfer"
)

// BenchmarkMigration moves what b.N certificates over ACME leave: into
// PostgreSQL, and back. Run it with -benchtime 100000x.
func BenchmarkMigration(b *testing.B) {
	first, second, third := file(b), database(b), file(b)
	fill(b, first, b.N)
	b.ResetTimer()
	started := time.Now()
	records := migrate(b, first, second)
	there := time.Since(started)
	migrate(b, second, third)
	b.StopTimer()
	b.ReportMetric(float64(count(records))/there.Seconds(), "records-into-postgres/s")
	b.ReportMetric(float64(count(records))/(b.Elapsed()-there).Seconds(), "records-into-sqlite/s")
}

func count(results []transfer.Result) (records int64) {
	for i := range results {
		records += results[i].Sum.Count
	}
	return records
}
