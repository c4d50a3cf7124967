package sqlite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"chancery/internal/store"
	"chancery/internal/store/storetest"
)

// load issues certificates from several goroutines until its context ends, and
// keeps book of what the store acknowledged.
type load struct {
	mu   sync.Mutex
	done map[string]string // guarded by mu; order ids by the names of their certificates
	wait sync.WaitGroup
}

func startLoad(ctx context.Context, t *testing.T, s *Store) *load {
	l := &load{done: map[string]string{}}
	account := storetest.NewAccount(t)
	if _, _, err := s.CreateAccount(ctx, account); err != nil {
		t.Fatal(err)
	}
	for worker := range 8 {
		l.wait.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprintf("%s-%d-%d.example", account.ID, worker, i)
				if order, _, err := storetest.Issue(t, s, account.ID, name); err == nil {
					l.add(order, name)
				}
			}
		})
	}
	return l
}

func (l *load) add(order, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done[name] = order
}

func (l *load) acknowledged() map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.done)
}

// checkHolds opens the store in dir and looks for all that was acknowledged,
// and for damage.
func checkHolds(t *testing.T, dir string, acknowledged map[string]string) {
	t.Helper()
	s, err := Open(t.Context(), Options{Path: filepath.Join(dir, "chancery.db"), Readers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := s.CheckIntegrity(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, id := range acknowledged {
		checkIssued(t, s, name, id)
	}
	checkWhole(t, s)
}

// checkIssued looks for a certificate by its name and its order.
func checkIssued(t *testing.T, s *Store, name, orderID string) {
	t.Helper()
	order, err := s.Order(t.Context(), orderID)
	if err != nil || order.Certificate == nil {
		t.Fatalf("the order of %s: certificate %v, %v", name, order.Certificate, err)
	}
	list, err := s.ListCertificates(t.Context(), store.CertificateQuery{Name: name})
	if err != nil || len(list) != 1 || list[0].CertificateKey != *order.Certificate {
		t.Fatalf("%d certificates of %s: %v", len(list), name, err)
	}
}

// checkWhole checks that every order that is being finalized has its intent:
// no step happened by half.
func checkWhole(t *testing.T, s *Store) {
	t.Helper()
	intents, err := s.Intents(t.Context(), time.Now().Add(24*time.Hour), 1000)
	if err != nil {
		t.Fatal(err)
	}
	orders, err := s.ListOrders(t.Context(), store.OrderQuery{Limit: 100000})
	if err != nil {
		t.Fatal(err)
	}
	processing := map[string]bool{}
	for i := range orders {
		if orders[i].Status(time.Now()) == store.OrderProcessing {
			processing[orders[i].ID] = true
		}
	}
	for i := range intents {
		if !processing[intents[i].Owner.ID] {
			t.Errorf("intent %s of %s, which is not processing", intents[i].Serial, intents[i].Owner.ID)
		}
		delete(processing, intents[i].Owner.ID)
	}
	for id := range processing {
		t.Errorf("order %s is processing without an intent", id)
	}
}

// until waits for a condition that other goroutines bring about.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	timeout := time.After(30 * time.Second)
	for !condition() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("still waiting until %s", what)
		}
	}
}

// TestPowerLoss cuts the power again and again in the middle of load: nothing
// that was acknowledged is lost, whatever became of the writes not yet synced.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	s := d.open(t)
	err := update(t.Context(), s, "make checkpoints frequent", func(c *conn) error { return c.WALAutoCheckpoint(20) })
	if err != nil {
		t.Fatal(err)
	}
	for round := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		l := startLoad(ctx, t, s)
		until(t, "some is issued", func() bool { return len(l.acknowledged()) > round })
		acknowledged := l.acknowledged()
		dir := d.cutPower(t, []float64{0, 0.5, 0.9}[round%3])
		cancel()
		l.wait.Wait()
		checkHolds(t, dir, acknowledged)
	}
}

// TestDiskFaults lets the disk fail for a while in the middle of load.
func TestDiskFaults(t *testing.T) {
	for name, f := range map[string]fault{
		"full":           {write: sqlite3.FULL},
		"write error":    {write: sqlite3.IOERR_WRITE},
		"sync error":     {sync: sqlite3.IOERR_FSYNC},
		"all goes wrong": {write: sqlite3.IOERR_WRITE, sync: sqlite3.IOERR_FSYNC},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDisk(t)
			ctx, cancel := context.WithCancel(t.Context())
			s := d.open(t)
			l := startLoad(ctx, t, s)
			defer l.wait.Wait()
			defer cancel()
			for range 2 {
				before := len(l.acknowledged())
				until(t, "more is issued", func() bool { return len(l.acknowledged()) > before+3 })
				d.fail(f)
				until(t, "the store is unavailable", func() bool { return errors.Is(s.Ping(t.Context()), store.ErrUnavailable) })
				checkHolds(t, d.cutPower(t, 0.5), l.acknowledged())
				d.fail(fault{})
				until(t, "the store is back", func() bool { return s.Ping(t.Context()) == nil })
			}
			acknowledged := l.acknowledged()
			checkHolds(t, d.cutPower(t, 0), acknowledged)
			for name, id := range acknowledged {
				checkIssued(t, s, name, id)
			}
		})
	}
}

// TestGroupFailsTogether checks that a failed commit fails each step of its
// group, that the store goes on, and that each step can then be repeated.
func TestGroupFailsTogether(t *testing.T) {
	d := newDisk(t)
	s := d.open(t)
	accounts := make([]store.Account, 20)
	for i := range accounts {
		accounts[i] = storetest.NewAccount(t)
	}
	create := func(i int) error {
		_, _, err := s.CreateAccount(t.Context(), accounts[i/2]) // each twice: the second finds what the first wrote
		return err
	}
	d.fail(fault{write: sqlite3.FULL})
	for i, err := range together(t, s, 2*len(accounts), create) {
		if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, sqlite3.FULL) {
			t.Errorf("step %d: %v", i, err)
		}
	}
	if _, err := s.Account(t.Context(), accounts[0].ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a failed step left something: %v", err)
	}
	d.fail(fault{})
	writes, syncs := d.count()
	for i, err := range together(t, s, 2*len(accounts), create) {
		if err != nil {
			t.Errorf("step %d: %v", i, err)
		}
	}
	w, n := d.count()
	if w, n = w-writes, n-syncs; w > 2 || n > 2 { // one is of the step that holds the writer
		t.Errorf("%d steps took %d writes and %d syncs", 2*len(accounts), w, n)
	}
}

// together runs n steps so that they are in one group.
func together(t *testing.T, s *Store, n int, f func(i int) error) []error {
	t.Helper()
	release := make(chan struct{})
	started := make(chan struct{})
	errs := make([]error, n)
	var group sync.WaitGroup
	group.Go(func() {
		_ = update(context.Background(), s, "hold the writer", func(*conn) error {
			close(started)
			<-release
			return nil
		})
	})
	<-started
	for i := range n {
		group.Go(func() { errs[i] = f(i) })
		until(t, "the step is queued", func() bool { return s.Queued() == i+1 })
	}
	close(release)
	group.Wait()
	return errs
}
