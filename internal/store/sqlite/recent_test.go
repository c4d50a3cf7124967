package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/storetest"
)

// checkRecent compares each record in memory with the file. It is called at the
// end of each test of the suite, which reads what it wrote mostly from memory.
func checkRecent(t testing.TB, s *Store) {
	t.Helper()
	s.recent.mu.RLock()
	defer s.recent.mu.RUnlock()
	if len(s.recent.records) > maxRecent || len(s.recent.places) > maxRecent {
		t.Errorf("%d records at %d places are kept", len(s.recent.records), len(s.recent.places))
	}
	for name, known := range s.recent.records {
		if known.value == nil {
			continue
		}
		stored, err := read(context.WithoutCancel(t.Context()), s, "read record", func(c *conn) (any, error) { return stored(c, name, known.value) })
		if got, want := asText(t, known.value), asText(t, stored); err != nil || got != want {
			t.Errorf("in memory: %s\nin the file: %s, %v", got, want, err)
		}
	}
}

// stored reads the record that like is about from the file.
func stored(c *conn, name string, like any) (any, error) {
	switch like := like.(type) {
	case store.Order:
		order, err := oneOrder(c, name)
		order.Authorizations = nil
		return order, err
	case store.Authorization:
		return oneAuthorization(c, name)
	default:
		return oneCertificate(c, like.(store.Certificate).CertificateKey)
	}
}

func asText(t testing.TB, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// TestRecentIsBounded issues more than is kept in memory, and reads what is not
// there any more from the file.
func TestRecentIsBounded(t *testing.T) {
	s := openTest(t)
	account := storetest.NewAccount(t)
	if _, _, err := s.CreateAccount(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	first, _, err := storetest.Issue(t, s, account.ID, "first.example")
	if err != nil {
		t.Fatal(err)
	}
	if order, ok := s.recent.order(first); !ok || order.Certificate == nil {
		t.Errorf("what was just written is not in memory: %v %v", order, ok)
	}
	for i, err := range together(t, s, maxRecent, func(int) error {
		_, _, err := storetest.Issue(t, s, account.ID, storetest.NewID(t)+".example")
		return err
	}) {
		if err != nil {
			t.Fatalf("issuance %d: %v", i, err)
		}
	}
	if _, ok := s.recent.order(first); ok {
		t.Error("the first order is still in memory")
	}
	order, err := s.Order(t.Context(), first)
	if err != nil || order.Certificate == nil || order.Status(time.Now()) != store.OrderValid {
		t.Errorf("the first order: %v %v", order, err)
	}
}

// TestRecentOfOthers checks that what fails in a group, and with it the whole
// transaction, changes nothing in memory either, and that each step sees what
// those before it did.
func TestRecentOfOthers(t *testing.T) {
	s := openTest(t)
	account := storetest.NewAccount(t)
	if _, _, err := s.CreateAccount(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	order := storetest.NewOrder(t, account.ID, "a.example", time.Now())
	if _, _, err := s.CreateOrder(t.Context(), order, order.Authorizations); err != nil {
		t.Fatal(err)
	}
	steps := []func(*conn) error{
		func(c *conn) error {
			_, err := c.exec(updateAuthorizationDeactivated, order.Authorizations[0].ID)
			return err
		},
		func(c *conn) error {
			if err := claimOrder(c, order.ID, time.Now()); err != store.ErrNotReady { //nolint:errorlint // exactly this
				t.Errorf("an order whose authorization was deactivated in the same transaction: %v", err)
			}
			_, err := c.exec(updateOrderFinalized, time.Now(), order.ID)
			return err
		},
		func(c *conn) error { _, _ = c.exec(updatePing, time.Now()); return errOwn },
	}
	together(t, s, len(steps), func(i int) error { return update(t.Context(), s, "test", steps[i]) })
	got, err := s.Order(t.Context(), order.ID)
	if err != nil || got.Finalized.IsZero() || got.Status(time.Now()) != store.OrderProcessing {
		t.Errorf("the order is %s: %v %v", got.Status(time.Now()), got, err)
	}
}

// TestRecentOfNumberGivenAgain removes an order, whose number in the table the
// next one gets, and looks for it beside a change of that.
func TestRecentOfNumberGivenAgain(t *testing.T) {
	s := openTest(t)
	account := storetest.NewAccount(t)
	if _, _, err := s.CreateAccount(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	create := func(created time.Time) store.Order {
		order := storetest.NewOrder(t, account.ID, "a.example", created)
		if _, _, err := s.CreateOrder(t.Context(), order, order.Authorizations); err != nil {
			t.Fatal(err)
		}
		return order
	}
	gone := create(time.Now().Add(-1000 * time.Hour))
	if removed, err := s.Tidy(t.Context(), store.TidyCutoff{Orders: time.Now().Add(-time.Hour)}, 10); removed != 1 || err != nil {
		t.Fatalf("%d orders were removed: %v", removed, err)
	}
	next := create(time.Now())
	err := update(t.Context(), s, "test", func(c *conn) error {
		changed, err := oneOrder(c, next.ID)
		if err != nil {
			return err
		}
		changed.Finalized = time.Now()
		if _, err := c.exec(updateOrderFinalized, changed.Finalized, next.ID); err != nil {
			return err
		}
		keepOrder(c, changed)
		if found, err := oneOrder(c, gone.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the order that was removed is %s now: %v", found.ID, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
