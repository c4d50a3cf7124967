package sqlite

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"chancery/internal/store/storetest"
)

func openTest(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "chancery.db"), Readers: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		checkRecent(t, s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func pidText() string { return strconv.Itoa(os.Getpid()) }

// BenchmarkWriters is the smallest durable step, from 64 goroutines.
func BenchmarkWriters(b *testing.B) {
	s := openTest(b)
	storetest.Benchmark(b, "tx", func(int64) error {
		_, _, err := s.CreateAccount(b.Context(), storetest.NewAccount(b))
		return err
	})
}

// BenchmarkIssuance is what one certificate over ACME asks of the store: four
// durable steps and the usual reads.
func BenchmarkIssuance(b *testing.B) {
	s := openTest(b)
	account := storetest.NewAccount(b)
	if _, _, err := s.CreateAccount(b.Context(), account); err != nil {
		b.Fatal(err)
	}
	storetest.Benchmark(b, "cert", func(int64) error {
		_, _, err := storetest.Issue(b, s, account.ID, rand.Text()+".example")
		return err
	})
}
