package acme

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/internal/store"
)

// spentNonces is a store.Nonces in memory.
type spentNonces struct {
	mu    sync.Mutex
	spent map[store.NonceID]bool // guarded by mu
	asked atomic.Int64
	fail  atomic.Bool
	gate  chan struct{} // each question takes one; nil for none
}

func (s *spentNonces) SpendNonces(_ context.Context, ids []store.NonceID) ([]bool, error) {
	s.asked.Add(1)
	if s.gate != nil {
		<-s.gate
	}
	if s.fail.Load() {
		return nil, store.ErrUnavailable
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := make([]bool, len(ids))
	for i, id := range ids {
		fresh[i] = !s.spent[id]
		s.spent[id] = true
	}
	return fresh, nil
}

// nonceNodes are nodes with one secret and one store, and a clock of their own
// each, that run until the test ends.
func nonceNodes(t *testing.T, spent *spentNonces, clocks ...*atomic.Int64) []*SharedNonces {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	nodes := make([]*SharedNonces, len(clocks))
	for i, clock := range clocks {
		node, err := NewSharedNonces(NonceDeps{
			Store: spent, Secret: bytes.Repeat([]byte{7}, 32), Now: func() time.Time { return time.UnixMilli(clock.Load()) },
		})
		if err != nil {
			t.Fatal(err)
		}
		nodes[i] = node
		running.Go(func() { _ = node.Run(ctx) })
	}
	return nodes
}

func clockAt(at time.Time) *atomic.Int64 {
	clock := new(atomic.Int64)
	clock.Store(at.UnixMilli())
	return clock
}

func TestSharedNonceIsSpentOnceAnywhere(t *testing.T) {
	spent := &spentNonces{spent: map[store.NonceID]bool{}}
	nodes := nonceNodes(t, spent, clockAt(time.Now()), clockAt(time.Now()), clockAt(time.Now()))
	for range 200 {
		nonce := nodes[0].New()
		var wins atomic.Int64
		var racing sync.WaitGroup
		for i := range 12 {
			racing.Go(func() {
				if fresh, err := nodes[i%3].Spend(t.Context(), nonce); err != nil {
					t.Error(err)
				} else if fresh {
					wins.Add(1)
				}
			})
		}
		racing.Wait()
		if wins.Load() != 1 {
			t.Fatalf("a nonce was spent %d times", wins.Load())
		}
	}
}

func TestSharedNoncesAreUniqueAndAuthenticated(t *testing.T) {
	spent := &spentNonces{spent: map[store.NonceID]bool{}}
	nodes := nonceNodes(t, spent, clockAt(time.Unix(1e9, 0)), clockAt(time.Unix(1e9, 0)))
	seen := map[string]bool{}
	for range 1000 {
		for _, node := range nodes {
			seen[node.New()] = true
		}
	}
	if len(seen) != 2000 {
		t.Fatalf("of 2000 nonces %d differ", len(seen))
	}
	good := nodes[0].New()
	raw, _ := jwsBase64.DecodeString(good)
	bad := []string{"", good[1:], good + "A", good[:42] + "=", good[:42] + "\n"}
	for i := range raw {
		changed := bytes.Clone(raw)
		changed[i] ^= 1
		bad = append(bad, jwsBase64.EncodeToString(changed))
	}
	for _, nonce := range bad {
		if fresh, err := nodes[0].Spend(t.Context(), nonce); fresh || err != nil {
			t.Errorf("%q: %v %v", nonce, fresh, err)
		}
	}
	if spent.asked.Load() != 0 {
		t.Errorf("the store was asked %d times about nonces that nobody made", spent.asked.Load())
	}
}

func TestSharedNonceIDsBeginWithTheirTime(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	node := nonceNodes(t, &spentNonces{}, clockAt(at))[0]
	raw, err := jwsBase64.DecodeString(node.New())
	if err != nil || binary.BigEndian.Uint64(raw)>>16 != uint64(at.UnixMilli()) {
		t.Errorf("%x, %v", raw, err)
	}
}

func TestSharedNoncesHaveALifetime(t *testing.T) {
	now := time.Now()
	here, there := clockAt(now), clockAt(now)
	nodes := nonceNodes(t, &spentNonces{spent: map[store.NonceID]bool{}}, here, there)
	for _, test := range []struct {
		age  time.Duration // at the node that is asked
		good bool
	}{
		{0, true}, {NonceLifetime - time.Second, true}, {NonceLifetime, false}, {100 * time.Hour, false},
		{-nonceSkew + time.Second, true}, {-nonceSkew - time.Second, false},
	} {
		nonce := nodes[0].New()
		there.Store(now.Add(test.age).UnixMilli())
		if fresh, err := nodes[1].Spend(t.Context(), nonce); fresh != test.good || err != nil {
			t.Errorf("at the age %s: %v %v", test.age, fresh, err)
		}
	}
}

func TestSharedNoncesShareQuestions(t *testing.T) {
	spent := &spentNonces{spent: map[store.NonceID]bool{}, gate: make(chan struct{})}
	node := nonceNodes(t, spent, clockAt(time.Now()))[0]
	var waiting sync.WaitGroup
	ask := func() {
		if fresh, err := node.Spend(t.Context(), node.New()); !fresh || err != nil {
			t.Errorf("%v %v", fresh, err)
		}
	}
	waiting.Go(ask)
	spent.gate <- struct{}{} // the first is asked about, alone
	waiting.Wait()
	waiting.Go(ask)
	until(t, func() bool { return spent.asked.Load() == 2 })
	for range 50 {
		waiting.Go(ask)
	}
	until(t, func() bool { return len(node.queue) == 50 })
	close(spent.gate)
	waiting.Wait()
	if asked := spent.asked.Load(); asked != 3 {
		t.Errorf("52 nonces took %d questions", asked)
	}
}

// until waits for a condition that comes true by itself.
func until(t *testing.T, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	late := time.After(10 * time.Second)
	for !condition() {
		select {
		case <-ticker.C:
		case <-late:
			t.Fatal("it did not come true")
		}
	}
}

func TestSharedNoncesSayThatTheStoreIsAway(t *testing.T) {
	spent := &spentNonces{spent: map[store.NonceID]bool{}}
	node := nonceNodes(t, spent, clockAt(time.Now()))[0]
	nonce := node.New()
	spent.fail.Store(true)
	if fresh, err := node.Spend(t.Context(), nonce); fresh || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%v %v", fresh, err)
	}
	spent.fail.Store(false)
	if fresh, err := node.Spend(t.Context(), nonce); !fresh || err != nil {
		t.Errorf("when it is back: %v %v", fresh, err)
	}
}

func TestSharedNoncesEnd(t *testing.T) {
	node, err := NewSharedNonces(NonceDeps{Store: &spentNonces{}, Secret: make([]byte, 32), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := node.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Spend(t.Context(), node.New()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

func FuzzSharedNonce(f *testing.F) {
	node, err := NewSharedNonces(NonceDeps{Secret: make([]byte, 32), Now: time.Now})
	if err != nil {
		f.Fatal(err)
	}
	node.node = [6]byte{} // fuzzing takes several processes
	f.Add(node.New())
	f.Add("")
	f.Fuzz(func(t *testing.T, nonce string) {
		id, ok := node.open(nonce)
		if again := jwsBase64.EncodeToString(id[:]); ok && ([6]byte(id[6:12]) != node.node || nonce[:20] != again[:20]) {
			t.Errorf("%q is taken, and nobody made it", nonce)
		}
	})
}

func BenchmarkSharedNonceNew(b *testing.B) {
	node, err := NewSharedNonces(NonceDeps{Secret: make([]byte, 32), Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = node.New()
	}
}
