package revocation

import (
	"context"
	"errors"
	"testing"
	"time"

	"chancery/internal/issuer"
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
