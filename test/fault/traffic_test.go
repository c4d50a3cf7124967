package fault

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
)

// traffic is clients that get certificates through all that befalls the CA, as
// ACME clients do: what was not answered, or answered by 503 or badNonce, they
// try again. Any other answer fails the test.
type traffic struct {
	site   *site
	proofs *target
	key    *ecdsa.PrivateKey

	enough      atomic.Bool // no further certificates are wanted
	done        atomic.Int64
	cut         atomic.Int64 // requests without an answer
	unavailable atomic.Int64 // answered by 503
	badNonces   atomic.Int64
	work        sync.WaitGroup
	failed      chan error // of the first that fails for good
	clients     []*client

	mu      sync.Mutex
	tickets []*ticket // guarded by mu; every order acknowledged
}

// patience is how long one step of an issuance may take, in the worst fault.
const patience = 90 * time.Second

// newTraffic begins with the traffic; it ends with the test at the latest.
func newTraffic(t *testing.T, s *site, proofs *target, clients int) *traffic {
	t.Helper()
	f := &traffic{site: s, proofs: proofs, key: certificateKey(t), failed: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	for range clients {
		var c *client
		if err := f.insist(ctx, func() (err error) { c, err = s.register(ctx); return err }); err != nil {
			t.Fatal(err)
		}
		f.clients = append(f.clients, c)
	}
	for _, c := range f.clients {
		f.work.Go(func() {
			if err := f.serve(ctx, c); err != nil && ctx.Err() == nil {
				select {
				case f.failed <- err:
				default:
				}
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		f.work.Wait()
	})
	return f
}

// serve gets certificates, one after the other.
func (f *traffic) serve(ctx context.Context, c *client) error {
	for !f.enough.Load() {
		var k *ticket
		if err := f.insist(ctx, func() (err error) { k, err = c.take(ctx, f.proofs.address()); return err }); err != nil {
			return err
		}
		f.mu.Lock()
		f.tickets = append(f.tickets, k)
		f.mu.Unlock()
		if err := f.complete(ctx, k); err != nil {
			return err
		}
		f.done.Add(1)
	}
	return nil
}

// complete takes an order to its end. After a request that failed the client
// asks what became of it.
func (f *traffic) complete(ctx context.Context, k *ticket) error {
	again := false
	for k.leaf == nil {
		if err := f.insist(ctx, func() error {
			if again {
				if err := k.read(ctx); err != nil {
					return err
				}
			}
			again = true
			return k.advance(ctx, f.proofs, f.key)
		}); err != nil {
			return fmt.Errorf("the order %s, last known as %s: %w", k.order.URL, k.order.Status, err)
		}
		again = false
	}
	return nil
}

// insist repeats a request until it is answered, and not for ever.
func (f *traffic) insist(ctx context.Context, request func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	for {
		err := request()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(err, last)
		}
		switch {
		case isBadNonce(err):
			f.badNonces.Add(1)
		case isUnavailable(err):
			f.unavailable.Add(1)
		case isCut(err) && !isHung(err) && !isDistrusted(err):
			f.cut.Add(1)
		default:
			return err
		}
		last = err
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), last)
		}
	}
}

// await returns when so many more certificates have come.
func (f *traffic) await(t *testing.T, more int64) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for want := f.done.Load() + more; f.done.Load() < want; {
		select {
		case <-tick.C:
		case err := <-f.failed:
			t.Fatal(err)
		case <-deadline:
			t.Fatalf("there were %d certificates and then no %d more in %s (%s)", f.done.Load(), more, patience, f)
		}
	}
}

// end has the clients complete what they have begun and begin nothing new.
func (f *traffic) end(t *testing.T) {
	t.Helper()
	f.enough.Store(true)
	f.work.Wait()
	select {
	case err := <-f.failed:
		t.Fatal(err)
	default:
	}
	for _, c := range f.clients {
		if err := f.insist(t.Context(), func() error { return c.checkAccount(t.Context()) }); err != nil {
			t.Error(err)
		}
	}
	serials := map[string]bool{}
	for _, k := range f.tickets {
		if serials[k.serial()] {
			t.Errorf("the serial %s was given out twice", k.serial())
		}
		serials[k.serial()] = true
	}
	t.Log(f)
}

func (f *traffic) String() string {
	return fmt.Sprintf("%d certificates; %d requests without an answer, %d answered by 503, %d by badNonce",
		f.done.Load(), f.cut.Load(), f.unavailable.Load(), f.badNonces.Load())
}

// isBadNonce reports whether a request was refused for its nonce alone (RFC
// 8555 §6.5).
func isBadNonce(err error) bool {
	problem, ok := errors.AsType[*acmetest.Problem](err)
	return ok && problem.Type == "urn:ietf:params:acme:error:badNonce"
}

// isDistrusted reports whether it was the client who cut a connection: to a
// server that is not the CA's.
func isDistrusted(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

// isHung reports whether a client gave up waiting for an answer.
func isHung(err error) bool {
	network, ok := errors.AsType[net.Error](err)
	return ok && network.Timeout()
}
