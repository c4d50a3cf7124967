package fault

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load is clients that get certificates until something is done to the server,
// and what they know afterwards.
type load struct {
	ca      *authority
	proofs  *target
	key     *ecdsa.PrivateKey
	workers []*client // each with an account it keeps

	broken atomic.Bool // something was done to the server, so requests may fail
	enough atomic.Bool // no further certificates are wanted

	mu       sync.Mutex
	tickets  []*ticket // guarded by mu; every order ever acknowledged
	accounts []*client // guarded by mu; further accounts
}

const workers = 16

func newLoad(t *testing.T, ca *authority, proofs *target) *load {
	t.Helper()
	l := &load{ca: ca, proofs: proofs, key: certificateKey(t)}
	for range workers {
		l.workers = append(l.workers, ca.mustRegister(t))
	}
	return l
}

// trigger says when a burst is broken off: at the n-th finalize request, just
// before it is sent, or at the n-th certificate.
type trigger struct {
	finalize bool
	count    int64
}

// burst loads the server until the trigger, calls breakOff, and returns the
// first error of each client when all have ended: by an error, or because it
// was enough. An error before the trigger fails the test.
func (l *load) burst(t *testing.T, at trigger, breakOff func()) []error {
	t.Helper()
	l.broken.Store(false)
	l.enough.Store(false)
	reached, remaining := make(chan struct{}), &atomic.Int64{}
	remaining.Store(at.count)
	count := func(finalize bool) {
		if finalize == at.finalize && remaining.Add(-1) == 0 {
			l.broken.Store(true)
			close(reached)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	errs := make(chan error, workers+1)
	var work sync.WaitGroup
	for _, worker := range l.workers {
		work.Go(func() { errs <- l.early(l.work(ctx, worker, count)) })
	}
	work.Go(func() { errs <- l.early(l.openAccounts(ctx)) })
	select {
	case <-reached:
	case <-l.ca.process.Ended():
		t.Fatalf("the server ended by itself:\n%s", l.ca.process.Output())
	case err := <-errs:
		t.Fatalf("%v\n%s", err, l.ca.process.Output())
	}
	breakOff()
	work.Wait()
	close(errs)
	var met []error
	for err := range errs {
		if err != nil {
			met = append(met, err)
		}
	}
	return met
}

// errEarly marks an error that came before anybody touched the server.
var errEarly = errors.New("a request failed under mere load")

func (l *load) early(err error) error {
	if !l.broken.Load() {
		return errors.Join(errEarly, err)
	}
	return err
}

// work gets certificates, one after the other, until a request fails.
func (l *load) work(ctx context.Context, c *client, count func(finalize bool)) error {
	for !l.enough.Load() {
		k, err := c.take(ctx, l.proofs.address())
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.tickets = append(l.tickets, k)
		l.mu.Unlock()
		for k.leaf == nil {
			if k.order.Status == "ready" {
				count(true)
			}
			if err := k.advance(ctx, l.proofs, l.key); err != nil {
				return err
			}
		}
		count(false)
	}
	return nil
}

// openAccounts creates accounts, one after the other, until a request fails.
func (l *load) openAccounts(ctx context.Context) error {
	for !l.enough.Load() {
		c, err := l.ca.register(ctx)
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.accounts = append(l.accounts, c)
		l.mu.Unlock()
	}
	return nil
}

// resume has the clients go on where they were cut off.
func (l *load) resume(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, worker := range l.workers {
		worker.reconnect()
	}
	for _, k := range l.tickets {
		if k.leaf != nil {
			continue
		}
		if err := k.resume(ctx, l.proofs, l.key); err != nil {
			t.Error(err)
		}
	}
}

// checkAccounts looks for accounts by their keys.
func (l *load) checkAccounts(t *testing.T, accounts []*client) {
	t.Helper()
	for _, c := range accounts {
		if err := c.checkAccount(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// checkDownloads fetches every certificate again, at the URL it had.
func (l *load) checkDownloads(t *testing.T) {
	t.Helper()
	for _, k := range l.tickets {
		if k.leaf == nil {
			continue
		}
		if err := k.download(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// mustGet gets a certificate for an account of its own.
func (l *load) mustGet(t *testing.T) *ticket {
	t.Helper()
	k, err := l.ca.mustRegister(t).take(t.Context(), l.proofs.address())
	if err == nil {
		err = k.complete(t.Context(), l.proofs, l.key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}
