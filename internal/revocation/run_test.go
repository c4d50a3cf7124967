package revocation

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"chancery/internal/issuer"
	"chancery/internal/serial"
	"chancery/internal/store"
)

// stuck is an issuer whose key does not answer until it is released.
type stuck struct {
	Issuer
	asked    chan struct{} // told when the key is used first
	released chan struct{}
}

func (s stuck) SignRevocationList(ctx context.Context, _ []byte) ([]byte, error) {
	select {
	case s.asked <- struct{}{}:
	default:
	}
	select {
	case <-s.released:
	case <-ctx.Done():
	}
	return nil, errors.New("the key does not answer")
}

// TestIssuersDoNotWaitForEachOther: a key that hangs is the trouble of its own
// issuer only.
func TestIssuersDoNotWaitForEachOther(t *testing.T) {
	a := newAuthority(t, defaultSettings(), func(local *issuer.Local) Issuer { return stuck{Issuer: local} })
	other := anotherIssuer()
	a.lists.SetIssuers(append(a.lists.deps.Issuers, other))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.lists.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for partition := range int64(3) {
		await, cancel := context.WithTimeout(ctx, 10*time.Second)
		for tick := time.Tick(10 * time.Millisecond); ; <-tick {
			_, err := a.lists.List(await, other.ID(), partition)
			if err == nil {
				break
			}
			if !errors.Is(err, store.ErrNotFound) || await.Err() != nil {
				t.Fatalf("list %d of another issuer: %v, %v", partition, err, await.Err())
			}
		}
		cancel()
		if _, err := a.store.NewPartition(ctx, other.ID(), a.now()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPlacesDoNotWaitForEachOther: nor does it keep others from issuing.
func TestPlacesDoNotWaitForEachOther(t *testing.T) {
	key := stuck{asked: make(chan struct{}, 1), released: make(chan struct{})}
	a := newAuthority(t, defaultSettings(), func(local *issuer.Local) Issuer { key.Issuer = local; return key })
	other := anotherIssuer()
	a.lists.SetIssuers(append(a.lists.deps.Issuers, other))
	ended := make(chan error, 1)
	go func() {
		_, err := a.lists.Of(t.Context(), a.id, true)
		ended <- err
	}()
	<-key.asked
	if place, err := a.lists.Of(t.Context(), other.ID(), true); err != nil || place.Partition != 1 {
		t.Errorf("%+v, %v", place, err)
	}
	select {
	case err := <-ended:
		t.Fatalf("another issuer had to wait until the first gave up: %v", err)
	default:
	}
	close(key.released)
	if err := <-ended; err == nil {
		t.Error("there is a place without a list")
	}
}

// lent is a lease that a test gives and takes.
type lent struct {
	fence store.Fence
	held  bool
}

func (l *lent) Held(string) (store.Fence, bool) { return l.fence, l.held }

// TestOneNodePublishes: lists are made by who has the lease, and its fence goes
// with them.
func TestOneNodePublishes(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	lease := &lent{fence: store.Fence{Lease: "lists", Token: 7}}
	a.lists.deps.Lease = lease
	fenced := &fencedStore{ListStore: a.lists.deps.Store}
	a.lists.deps.Store = fenced
	issued, leaf := a.issue("tls-server")
	a.revoke(issued, 0)
	a.publish()
	if listsSerial(a.list(issued.Partition), leaf) {
		t.Fatal("a list was made without the lease")
	}
	lease.held = true
	fenced.refuse = true
	a.publish()
	if a.overdue != 0 || listsSerial(a.list(issued.Partition), leaf) {
		t.Errorf("a node whose lease is another's: %d lists are overdue", a.overdue)
	}
	fenced.refuse = false
	a.publish()
	a.pass(checkAfter)
	if !listsSerial(a.list(issued.Partition), leaf) || fenced.last != lease.fence {
		t.Errorf("with the lease: the fence is %+v", fenced.last)
	}
}

// fencedStore notes fences, and refuses them when told.
type fencedStore struct {
	ListStore
	refuse bool
	mu     sync.Mutex
	last   store.Fence // guarded by mu
}

func (f *fencedStore) PublishList(ctx context.Context, list store.RevocationList, basis int64, fence store.Fence) error {
	if f.refuse {
		return store.ErrFenced
	}
	if fence != (store.Fence{}) {
		f.mu.Lock()
		f.last = fence
		f.mu.Unlock()
	}
	return f.ListStore.PublishList(ctx, list, basis, store.Fence{})
}

func TestForgetAllAnswers(t *testing.T) {
	c, now, key := newAnswerCache(), time.Now(), answerKey{"i", "c"}
	epoch := c.epochNow()
	c.put(key, serial.Number{}, &Document{}, epoch, now)
	if c.get(key, now) == nil {
		t.Fatal("it is not held")
	}
	c.forgetAll()
	c.put(key, serial.Number{}, &Document{}, epoch, now) // what was asked before
	if c.get(key, now) != nil {
		t.Error("it is still held")
	}
}
