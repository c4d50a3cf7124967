package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
	"chancery/internal/config"
	"chancery/internal/server"
	"chancery/internal/store"
	"chancery/internal/store/postgres"
)

// skew is a clock that is wrong by so many nanoseconds. When it jumps, so do spans
// that a process measures, which those of a machine don't.
type skew struct{ atomic.Int64 }

func (s *skew) now() time.Time { return time.Now().Add(time.Duration(s.Load())) }

// wrong is by how much clocks of these tests are.
const wrong = 10 * time.Minute

// TestClocks has the clock of one node of three jump in the middle of load:
// ahead, behind, ahead again and then to the right time.
func TestClocks(t *testing.T) {
	t.Parallel()
	proofs := newTarget(t)
	c := newCluster(t, chancery, proofs, newDatabase(t), 3, "http_url="+listURL, "revocation.list_size=20", "revocation.list_lifetime=1h")
	third, clock := c.nodes[2], new(skew)
	third.terminate(t)
	c.nodes = c.nodes[:2]
	serveHere(t, third, clock)
	watchLeases(t, c.url)

	f := newTraffic(t, &c.site, proofs, 6)
	revoked := revokeSome(t, c.nodes[0], f, 1)
	for _, node := range c.nodes {
		watchLists(t, newRelyingParty(t, node, revoked))
	}
	clock.Store(int64(wrong))
	f.await(t, 20)
	f.spendTwice(t)
	clock.Store(-int64(wrong))
	f.await(t, 20)
	f.spendTwice(t)
	revoked = append(revoked, revokeSome(t, c.nodes[0], f, 3)...)
	clock.Store(int64(wrong))
	revoked = append(revoked, revokeSome(t, c.nodes[0], f, 3)...)
	f.await(t, 10)
	clock.Store(0)
	f.await(t, 10)
	c.check(t, f)
	checkTimes(t, f.tickets)
	for _, node := range c.nodes {
		p := newRelyingParty(t, node, append(revoked, f.tickets...))
		node.await(t, "lists of now, with what was revoked", func() error {
			return errors.Join(p.misses(serialsOf(revoked)), p.fromTheFuture())
		})
	}
}

// TestClockOfOneNode has the clock of a CA on SQLite jump in the middle of load.
func TestClockOfOneNode(t *testing.T) {
	t.Parallel()
	proofs, clock := newTarget(t), new(skew)
	ca := newAuthority(t, proofs, "http_url="+listURL, "revocation.list_size=20")
	serveHere(t, ca, clock)
	f := newTraffic(t, &ca.site, proofs, 6)
	for _, ahead := range []time.Duration{wrong, -wrong, 0} {
		f.await(t, 20)
		clock.Store(int64(ahead))
		f.spendTwice(t)
	}
	f.await(t, 20)
	f.end(t)
	inventory := ca.certificates(t)
	checkInventory(t, inventory, f.tickets, abandonedIn(inventory))
	checkTimes(t, f.tickets)
	ca.settled(t)
}

// serveHere serves a CA inside this process, by another clock, until the test
// ends.
func serveHere(t *testing.T, a *authority, clock *skew) {
	t.Helper()
	load := func() (*config.Config, error) {
		return config.Load(config.LoadOptions{Dir: a.dir, Set: a.set})
	}
	loaded, err := load()
	must(t, err)
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	s, err := server.Open(t.Context(), server.Options{Config: loaded, Load: load, Log: quiet, Audit: quiet, Version: "test", Now: clock.now})
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// watchLists reads lists until the test ends: none is older than the one before.
func watchLists(t *testing.T, p *relyingParty) {
	ctx, stop := context.WithCancel(context.Background())
	var reading sync.WaitGroup
	reading.Go(func() { p.keepReading(ctx, t) })
	t.Cleanup(func() {
		stop()
		reading.Wait()
	})
}

// watchLeases looks at the leases until the test ends: one that goes to another
// holder, or back, has a higher token.
func watchLeases(t *testing.T, url string) {
	t.Helper()
	database, err := postgres.Open(t.Context(), postgres.Options{URL: url})
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() {
		last := map[string]store.Lease{}
		for ctx.Err() == nil {
			leases, err := database.ListLeases(ctx)
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			for _, lease := range leases {
				before, known := last[lease.Name]
				if known && (lease.Token < before.Token || lease.Holder != before.Holder && lease.Token == before.Token) {
					t.Errorf("after %+v came %+v", before, lease)
				}
				last[lease.Name] = lease
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	t.Cleanup(func() {
		stop()
		watching.Wait()
		_ = database.Close()
	})
}

// spendTwice sends requests twice at the same moment, each time to whichever
// nodes get them. Of two with one nonce one is served, or none: a node does not
// know a nonce from the future.
func (f *traffic) spendTwice(t *testing.T) {
	t.Helper()
	c := f.clients[0]
	for range 20 {
		header, err := c.Header(t.Context(), c.AccountURL)
		must(t, err)
		body := acmetest.Sign(c.Key, header, nil)
		var served atomic.Int64
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				resp, err := c.Do(t.Context(), http.MethodPost, c.AccountURL, "application/jose+json", body)
				if err != nil {
					t.Error(err)
				} else if resp.Status == http.StatusOK {
					served.Add(1)
				} else if problem := resp.Problem(); !isBadNonce(problem) {
					t.Error(problem)
				}
			})
		}
		both.Wait()
		if served.Load() > 1 {
			t.Error("a nonce was good twice")
		}
	}
}

// revokeSome gets certificates and revokes them.
func revokeSome(t *testing.T, ca *authority, f *traffic, count int) (revoked []*ticket) {
	t.Helper()
	for range count {
		var k *ticket
		must(t, f.insist(t.Context(), func() (err error) { k, err = f.clients[0].take(t.Context(), f.proofs.address()); return err }))
		must(t, f.complete(t.Context(), k))
		ca.chancery(t, "cert", "revoke", k.serial(), "--reason", "superseded")
		revoked = append(revoked, k)
	}
	return revoked
}

func serialsOf(tickets []*ticket) (serials []string) {
	for _, k := range tickets {
		serials = append(serials, k.serial())
	}
	return serials
}

// checkTimes looks at when certificates are good: all were issued during the
// test, for the same time, by a clock that was wrong by so much at most.
func checkTimes(t *testing.T, tickets []*ticket) {
	t.Helper()
	const margin = wrong + 2*time.Minute
	life := tickets[0].leaf.NotAfter.Sub(tickets[0].leaf.NotBefore)
	for _, k := range tickets {
		if time.Until(k.leaf.NotBefore).Abs() > margin || (time.Until(k.leaf.NotAfter)-life).Abs() > margin {
			t.Errorf("%s is good from %s until %s", k.serial(), k.leaf.NotBefore, k.leaf.NotAfter)
		}
	}
}

// fromTheFuture says which of the lists begins later than now.
func (p *relyingParty) fromTheFuture() error {
	for _, path := range p.paths {
		list, err := p.read(path)
		if err != nil {
			return err
		}
		if list.ThisUpdate.After(time.Now()) {
			return fmt.Errorf("%s is from %s", filepath.Base(path), list.ThisUpdate)
		}
	}
	return nil
}
