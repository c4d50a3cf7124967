package servertest_test

import (
	"os"
	"sync"
	"testing"

	"chancery/internal/store/postgres/postgrestest"
)

var (
	common      *postgrestest.Server // one for all tests but those that kill theirs
	commonError error
	commonOnce  sync.Once
)

func TestMain(m *testing.M) {
	code := m.Run()
	if common != nil {
		_ = common.Remove()
	}
	os.Exit(code)
}

// theServer is the common PostgreSQL, started by the first test that asks.
func theServer(t testing.TB) *postgrestest.Server {
	t.Helper()
	commonOnce.Do(func() { common, commonError = postgrestest.New() })
	check(t, commonError)
	return common
}
