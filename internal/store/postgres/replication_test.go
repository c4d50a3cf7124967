package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"chancery/internal/store"
	"chancery/internal/store/postgres/postgrestest"
	"chancery/internal/store/storetest"
)

// TestWithoutStandby has a server that waits for a standby which is not there.
// A step that gives up waiting has been committed on this server, and yet was
// not acknowledged: it is lost when the standby takes over.
func TestWithoutStandby(t *testing.T) {
	t.Parallel()
	server, err := postgrestest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Remove() })
	url := server.Database(t)
	_ = openAt(t, Options{URL: url}).Close() // makes its tables
	s := openAt(t, Options{URL: url, Connections: 2, Deadline: 300 * time.Millisecond})
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	wait := func(standbys string) {
		for _, sql := range []string{"ALTER SYSTEM SET synchronous_standby_names = '" + standbys + "'", "SELECT pg_reload_conf()"} {
			if _, err := c.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
	}
	wait("nobody")
	await(t, "steps to be refused", func() bool {
		_, _, err := s.CreateAccount(t.Context(), storetest.NewAccount(t)) // the server reads its settings by and by
		return errors.Is(err, store.ErrUnavailable)
	})
	for range 5 {
		if _, _, err := s.CreateAccount(t.Context(), storetest.NewAccount(t)); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a step without the standby: %v", err)
		}
	}
	wait("")
	await(t, "steps to go on", func() bool {
		_, _, err := s.CreateAccount(t.Context(), storetest.NewAccount(t))
		return err == nil
	})
}
