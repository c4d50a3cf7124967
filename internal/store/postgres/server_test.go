package postgres

import (
	"flag"
	"os"
	"sync"
	"testing"

	"chancery/internal/store/postgres/postgrestest"
)

var (
	shared      *postgrestest.Server // one for all tests of the package but those that kill theirs
	sharedError error
	sharedOnce  sync.Once
)

func TestMain(m *testing.M) {
	// Each of rapid's steps is some round trips: fewer than usual, unless told.
	if err := flag.Set("rapid.checks", "25"); err != nil {
		panic(err)
	}
	code := m.Run()
	if shared != nil {
		_ = shared.Remove()
	}
	os.Exit(code)
}

// theServer is the shared server, started by the first test that asks.
func theServer(t testing.TB) *postgrestest.Server {
	t.Helper()
	sharedOnce.Do(func() { shared, sharedError = postgrestest.New() })
	if sharedError != nil {
		t.Fatal(sharedError)
	}
	return shared
}

func openAt(t testing.TB, options Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func openTest(t testing.TB) *Store {
	return openAt(t, Options{URL: theServer(t).Schema(t), Connections: 8})
}
