package postgres

import (
	"crypto/rand"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/storetest"
)

// TestProcesses races stores of their own, as those of several processes are,
// for all that is to happen only once, or only so often.
func TestProcesses(t *testing.T) {
	t.Parallel()
	url := theServer(t).Database(t)
	stores := make([]*Store, 3)
	var group sync.WaitGroup
	for i := range stores { // all at once find nothing, and one migrates
		group.Go(func() { stores[i] = openAt(t, Options{URL: url, Connections: 4}) })
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
	account := storetest.NewAccount(t)
	if _, _, err := stores[0].CreateAccount(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		raceIssuance(t, stores, account.ID)
		raceAccounts(t, stores)
		raceCounts(t, stores)
	}
}

// raceIssuance races for an order and for a one-time token.
func raceIssuance(t *testing.T, stores []*Store, accountID string) {
	t.Helper()
	ctx, now := t.Context(), time.Now()
	order := storetest.NewOrder(t, accountID, rand.Text()+".example", now)
	if _, _, err := stores[0].CreateOrder(ctx, order, order.Authorizations); err != nil {
		t.Fatal(err)
	}
	if err := stores[1].FinishAuthorization(ctx, order.Authorizations[0].ID, store.Outcome{Method: "http-01", Settled: now, Expires: now.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	begin := func(owner store.Owner) func(s *Store) bool {
		return func(s *Store) bool {
			c := storetest.NewCertificate(t, &order, now)
			return s.BeginIssuance(ctx, store.Intent{CertificateKey: c.CertificateKey, Owner: owner, TBS: c.DER, Created: now, Deadline: now.Add(time.Hour)}) == nil
		}
	}
	happens(t, stores, 1, "finalize", begin(store.Owner{Kind: store.OwnerOrder, ID: order.ID}))
	happens(t, stores, 1, "token", begin(store.Owner{Kind: store.OwnerToken, ID: storetest.NewID(t)}))
}

// raceAccounts races for an account key and for a binding key of one use.
func raceAccounts(t *testing.T, stores []*Store) {
	t.Helper()
	binding := store.Binding{ID: storetest.NewID(t), SingleUse: true, Created: time.Now()}
	if err := stores[0].CreateBinding(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	create := func(change func(*store.Account)) func(s *Store) bool {
		return func(s *Store) bool {
			account := storetest.NewAccount(t)
			change(&account)
			_, created, err := s.CreateAccount(t.Context(), account)
			return err == nil && created
		}
	}
	key := rand.Text()
	happens(t, stores, 1, "newAccount", create(func(a *store.Account) { a.Key.Thumbprint = key }))
	happens(t, stores, 1, "single-use key", create(func(a *store.Account) { a.BindingID = binding.ID }))
}

// raceCounts races for a nonce and for what a limit allows.
func raceCounts(t *testing.T, stores []*Store) {
	t.Helper()
	var id store.NonceID
	_, _ = rand.Read(id[:])
	event := store.LimitEvent{Key: store.LimitKey(id), Interval: time.Minute, Span: 4 * time.Minute}
	happens(t, stores, 1, "nonce", func(s *Store) bool {
		fresh, err := s.SpendNonces(t.Context(), []store.NonceID{id})
		return err == nil && fresh[0]
	})
	now := time.Now()
	happens(t, stores, 4, "limit", func(s *Store) bool {
		refused, _, err := s.TakeEvents(t.Context(), []store.LimitEvent{event}, now)
		return err == nil && refused < 0
	})
}

// happens checks that f succeeds exactly so often when all stores do it twice.
func happens(t *testing.T, stores []*Store, want int64, what string, f func(*Store) bool) {
	t.Helper()
	var won atomic.Int64
	var group sync.WaitGroup
	for i := range 2 * len(stores) {
		group.Go(func() {
			if f(stores[i%len(stores)]) {
				won.Add(1)
			}
		})
	}
	group.Wait()
	if won.Load() != want {
		t.Fatalf("%s: %d have won, want %d", what, won.Load(), want)
	}
}
