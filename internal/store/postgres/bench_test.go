package postgres

import (
	"crypto/rand"
	"testing"

	"chancery/internal/store/storetest"
)

// BenchmarkIssuance is what one certificate over ACME asks of the store: four
// durable steps and the usual reads.
func BenchmarkIssuance(b *testing.B) {
	s := openAt(b, Options{URL: benchURL(b), Connections: 8})
	account := storetest.NewAccount(b)
	if _, _, err := s.CreateAccount(b.Context(), account); err != nil {
		b.Fatal(err)
	}
	before := s.RoundTrips()
	storetest.Benchmark(b, "cert", func(int64) error {
		_, _, err := storetest.Issue(b, s, account.ID, rand.Text()+".example")
		return err
	})
	b.ReportMetric(float64(s.RoundTrips()-before)/float64(b.N), "trips/cert")
}
