package postgres

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"chancery/internal/store"
	"chancery/internal/store/postgres/postgrestest"
	"chancery/internal/store/storetest"
)

// TestDiskFull takes the disk from the server in the middle of load, and gives
// it back: once its tables can't grow, and once it can't write its log, on which
// it crashes and stays away. Until then steps say that the store can't
// answer; nothing that was acknowledged is lost, and all goes on.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := postgrestest.NewDisk(t, 160<<20)
	server, err := postgrestest.NewIn(filepath.Join(dir, "server"), "shared_buffers=16MB", "max_wal_size=32MB", "min_wal_size=32MB")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Remove() })
	url := server.Database(t)
	s := openAt(t, Options{URL: url, Connections: 4, Deadline: time.Second})
	account := storetest.NewAccount(t)
	if _, _, err := s.CreateAccount(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	l := &load{store: s, account: account.ID, suffers: true}
	l.start(t, 4)
	l.wait(t, 20)
	for _, crash := range []bool{false, true} {
		filler := postgrestest.Fill(t, dir)
		if crash {
			useUpLog(t, url)
		}
		await(t, "steps to fail", func() bool { return l.failed.Load() > 0 })
		await(t, "Ping to fail", func() bool { return errors.Is(s.Ping(t.Context()), store.ErrUnavailable) })
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		want := l.done.Load() + 20
		await(t, "the load to go on", func() bool {
			select {
			case <-server.Ended(): // it gives up when it can't write its log
				if err := server.Start(); err != nil {
					t.Fatal(err)
				}
			default:
			}
			return l.done.Load() >= want
		})
		await(t, "Ping to succeed", func() bool { return s.Ping(t.Context()) == nil })
		l.failed.Store(0)
	}
	l.stop()
	abandonAll(t, s)
	l.check(t)
}

// abandonAll settles what was being issued when the disk was full.
func abandonAll(t *testing.T, s *Store) {
	t.Helper()
	left, err := s.Intents(t.Context(), time.Now().Add(time.Hour), 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, intent := range left {
		if err := s.AbandonIntent(t.Context(), intent.CertificateKey, time.Now(), nil, nil); err != nil {
			t.Error(err)
		}
		if order, err := s.Order(t.Context(), intent.Owner.ID); err != nil || order.Status(time.Now()) != store.OrderInvalid {
			t.Errorf("order %s is %+v (%v)", intent.Owner.ID, order, err)
		}
	}
}

// useUpLog has the server go on to files of its log that it has no room for.
func useUpLog(t *testing.T, url string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	for range 100 {
		_, err := c.Exec(t.Context(), "SELECT pg_logical_emit_message(true, '', ''), pg_switch_wal()")
		if err != nil && c.IsClosed() {
			return
		}
	}
	t.Error("the server goes on without space for its log")
}

// await waits for a condition.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}
