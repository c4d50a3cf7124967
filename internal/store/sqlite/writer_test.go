package sqlite

import (
	"context"
	"errors"
	"testing"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/storetest"
)

var errOwn = errors.New("the step's own failure")

// TestOneFailsAlone checks that a step's failure, of whatever kind, is its own:
// the others of its group are done, and nothing it wrote stays.
func TestOneFailsAlone(t *testing.T) {
	s := openTest(t)
	good, spoiled, twice := storetest.NewAccount(t), storetest.NewAccount(t), storetest.NewAccount(t)
	insertThen := func(c *conn, a store.Account, err error) error {
		if insertErr := insert(c, a); insertErr != nil {
			return insertErr
		}
		return err
	}
	steps := []func(*conn) error{
		func(c *conn) error { return insert(c, good) },
		func(c *conn) error { return insertThen(c, spoiled, errOwn) },
		func(*conn) error { return store.ErrNotFound },
		func(c *conn) error { return insertThen(c, twice, insert(c, twice)) },
		func(c *conn) error { _, err := c.exec("SELECT nonsense"); return err },
		func(c *conn) error { _, err := c.exec(updatePing, time.Now()); return err },
	}
	errs := together(t, s, len(steps), func(i int) error { return update(t.Context(), s, "test", steps[i]) })
	for i, want := range []bool{true, false, false, false, false, true} {
		if (errs[i] == nil) != want {
			t.Errorf("step %d: %v", i, errs[i])
		}
		if errors.Is(errs[i], store.ErrUnavailable) {
			t.Errorf("step %d's own failure is blamed on the store: %v", i, errs[i])
		}
	}
	for id, want := range map[string]error{good.ID: nil, spoiled.ID: store.ErrNotFound, twice.ID: store.ErrNotFound} {
		if _, err := s.Account(t.Context(), id); !errors.Is(err, want) {
			t.Errorf("account %s: %v, want %v", id, err, want)
		}
	}
}

// TestGroupsAreBounded queues more steps than a group holds.
func TestGroupsAreBounded(t *testing.T) {
	s := openTest(t)
	for i, err := range together(t, s, maxGroup+10, func(int) error { return s.Ping(t.Context()) }) {
		if err != nil {
			t.Errorf("step %d: %v", i, err)
		}
	}
}

// TestCallersLeave checks that a step whose caller has left is done all the
// same, and that neither the caller nor the writer waits for the other.
func TestCallersLeave(t *testing.T) {
	s := openTest(t)
	account := storetest.NewAccount(t)
	ctx, cancel := context.WithCancel(t.Context())
	errs := together(t, s, 2, func(i int) error {
		if i == 1 {
			cancel()
			return s.Ping(t.Context())
		}
		_, _, err := s.CreateAccount(ctx, account)
		return err
	})
	if !errors.Is(errs[0], context.Canceled) || errs[1] != nil {
		t.Errorf("the errors are %v", errs)
	}
	if _, err := s.Account(t.Context(), account.ID); err != nil {
		t.Errorf("the step was not done: %v", err)
	}
}

// TestCloseFinishesTheQueue checks that steps accepted before Close are done.
func TestCloseFinishesTheQueue(t *testing.T) {
	s := openTest(t)
	closed := make(chan error, 1)
	errs := together(t, s, 3, func(i int) error {
		if i == 2 {
			go func() { closed <- s.Close() }()
		}
		return s.Ping(context.Background())
	})
	for i, err := range errs[:2] {
		if err != nil {
			t.Errorf("step %d: %v", i, err)
		}
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := s.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a closed store answers %v", err)
	}
}

// TestReadersDoNotWait reads while the writer is in the middle of a step.
func TestReadersDoNotWait(t *testing.T) {
	s := openTest(t)
	account := storetest.NewAccount(t)
	if _, _, err := s.CreateAccount(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	err := update(t.Context(), s, "test", func(c *conn) error {
		if _, err := c.exec(updateAccountStatus, "revoked", account.ID); err != nil {
			return err
		}
		got, err := s.Account(t.Context(), account.ID)
		if err == nil && got.Status != store.AccountValid {
			t.Error("a reader sees what is not committed")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Account(t.Context(), account.ID); err != nil || got.Status != store.AccountRevoked {
		t.Errorf("a reader does not see the last commit: %+v, %v", got, err)
	}
}

// TestReadEndsWithItsContext interrupts a query that would take for ever.
func TestReadEndsWithItsContext(t *testing.T) {
	s := openTest(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := read(ctx, s, "count", func(c *conn) (n int, err error) {
		err = c.once(func(r *row) { n = r.int() }, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
		return n, err
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
	for range 10 { // on each reader
		if _, err := s.Issuers(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
