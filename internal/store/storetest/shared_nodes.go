package storetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"time"

	"chancery/internal/store"
)

func leaseTests() map[string]func(*shared) {
	return map[string]func(*shared){
		"are one node's at a time": leasesAreHeld,
		"go on when they end":      leasesEnd,
		"are listed":               leasesAreListed,
		"fence steps":              leasesFence,
		"race for one":             raceLease,
		"race with steps":          raceFence,
	}
}

// take is a lease that the holder gets.
func (s *shared) take(name, holder string, life time.Duration) store.Lease {
	s.Helper()
	lease, err := s.nodes.TakeLease(s.ctx, name, holder, life)
	s.must(err)
	return lease
}

// refuses reports when a lease that another has is given.
func (s *shared) refuses(name, holder string) {
	s.Helper()
	_, err := s.nodes.TakeLease(s.ctx, name, holder, time.Hour)
	s.is(err, store.ErrClaimed)
}

func leasesAreHeld(s *shared) {
	first := s.take("job", "one", time.Hour)
	if until := time.Until(first.Until); first.Name != "job" || first.Holder != "one" || until < 59*time.Minute || until > 61*time.Minute {
		s.Errorf("the lease is %+v", first)
	}
	s.refuses("job", "two")
	again := s.take("job", "one", 2*time.Hour)
	s.same(again.Token, first.Token)
	s.same(again.Until.After(first.Until), true)
	s.take("another", "two", time.Hour)

	s.is(s.nodes.GiveLease(s.ctx, store.Lease{Name: "job", Holder: "two", Token: first.Token}), nil)
	s.refuses("job", "two")
	s.is(s.nodes.GiveLease(s.ctx, first), nil)
	second := s.take("job", "two", time.Hour)
	s.same(second.Token > first.Token, true)
	s.is(s.nodes.GiveLease(s.ctx, again), nil) // is another's
	s.refuses("job", "one")
	s.is(s.nodes.GiveLease(s.ctx, second), nil)
	s.is(s.nodes.GiveLease(s.ctx, second), nil)
	third := s.take("job", "two", time.Hour)
	s.same(third.Token > second.Token, true)
}

func leasesEnd(s *shared) {
	first := s.take("job", "one", 50*time.Millisecond)
	var second store.Lease
	s.wait(func() (err error) {
		second, err = s.nodes.TakeLease(s.ctx, "job", "two", time.Millisecond)
		return err
	})
	s.same(second.Token > first.Token, true)
	third := s.take("job", "two", time.Nanosecond) // it may have ended, or not
	s.wait(func() (err error) {
		list, err := s.nodes.ListLeases(s.ctx)
		if err == nil && len(list) > 0 {
			err = store.ErrClaimed
		}
		return err
	})
	fourth := s.take("job", "two", time.Hour)
	s.same(fourth.Token > third.Token, true)
}

// wait returns when f no longer says ErrClaimed.
func (s *shared) wait(f func() error) {
	s.Helper()
	err := f()
	for ; errors.Is(err, store.ErrClaimed); err = f() {
		select {
		case <-s.ctx.Done():
			s.Fatal("it never came")
		case <-time.After(5 * time.Millisecond):
		}
	}
	s.must(err)
}

func leasesAreListed(s *shared) {
	b, a := s.take("b", "one", time.Hour), s.take("a", "two", time.Hour)
	s.must(s.nodes.GiveLease(s.ctx, s.take("c", "one", time.Hour)))
	list, err := s.nodes.ListLeases(s.ctx)
	s.is(err, nil)
	s.same(list, []store.Lease{a, b})
}

func leasesFence(s *shared) {
	lost := s.take("job", "one", time.Hour)
	s.must(s.nodes.GiveLease(s.ctx, lost))
	held := s.take("job", "two", time.Hour)
	order, nonce := s.order("a.example"), nonce(s.now)
	s.certificate(func(c *store.Certificate) { c.NotAfter = s.now.Add(-time.Hour) })
	s.spend(nonce)
	list := store.RevocationList{IssuerID: issuerID, Number: 1, ThisUpdate: s.now, NextUpdate: s.now.Add(time.Hour), DER: []byte("list")}
	for _, c := range []struct {
		fence store.Fence
		want  error
	}{
		{lost.Fence(), store.ErrFenced},
		{store.Fence{Lease: "unknown", Token: 1}, store.ErrFenced},
		{held.Fence(), nil},
		{store.Fence{}, nil},
	} {
		far := s.now.Add(48 * time.Hour)
		for _, cutoff := range []store.TidyCutoff{
			{Orders: far}, {Authorizations: far}, {Certificates: s.now}, {Tokens: far}, {Nonces: s.now.Add(time.Second)}, {Limits: far},
		} {
			cutoff.Fence = c.fence
			n, err := s.store.Tidy(s.ctx, cutoff, 1000)
			s.is(err, c.want)
			if c.want != nil && n != 0 {
				s.Errorf("%d records went", n)
			}
		}
		s.is(s.store.PublishList(s.ctx, list, 0, c.fence), c.want)
		if c.want != nil {
			s.same(s.readOrder(order.ID).ID, order.ID)
			_, err := s.store.RevocationList(s.ctx, issuerID, 0)
			s.is(err, store.ErrNotFound)
		}
		list.Number++
	}
	s.gone(order.ID)
}

func raceLease(s *shared) {
	token := int64(0)
	for range rounds {
		leases := make([]store.Lease, rivals)
		errs := race(rivals, func(i int) (err error) {
			leases[i], err = s.nodes.TakeLease(s.ctx, "job", string(rune('a'+i)), time.Hour)
			return err
		})
		lease := leases[s.oneWins(errs, store.ErrClaimed)]
		s.same(lease.Token > token, true)
		token = lease.Token
		s.must(s.nodes.GiveLease(s.ctx, lease))
	}
}

// raceFence has nodes take the lease from each other and publish under it: the
// list in force is always that of the lease's last holder that published.
func raceFence(s *shared) {
	for range rounds {
		lease := s.take("job", "one", time.Hour)
		list := store.RevocationList{IssuerID: issuerID, Number: lease.Token, ThisUpdate: s.now, NextUpdate: s.now.Add(time.Hour), DER: []byte("one")}
		var next store.Lease
		errs := race(2, func(i int) (err error) {
			if i == 0 {
				return s.store.PublishList(s.ctx, list, math.MaxInt64, lease.Fence())
			}
			if err = s.nodes.GiveLease(s.ctx, lease); err == nil {
				next, err = s.nodes.TakeLease(s.ctx, "job", "two", time.Hour)
			}
			return err
		})
		s.must(errs[1])
		late := errs[0]
		if late != nil {
			s.is(late, store.ErrFenced)
		}
		list.Number, list.DER = next.Token, []byte("two")
		s.is(s.store.PublishList(s.ctx, list, math.MaxInt64, next.Fence()), nil)
		if !bytes.Equal(s.readList(0).DER, list.DER) {
			s.Error("the list in force is of who lost the lease")
		}
		s.must(s.nodes.GiveLease(s.ctx, next))
	}
}

func nodeTests() map[string]func(*shared) {
	return map[string]func(*shared){
		"are listed":    nodesAreListed,
		"share secrets": nodesShareSecrets,
	}
}

func (s *shared) listNodes() []store.Node {
	s.Helper()
	list, now, err := s.nodes.ListNodes(s.ctx)
	s.must(err)
	if off := now.Sub(s.now); off < 0 || off > time.Minute {
		s.Errorf("the store's clock says %s", now)
	}
	for i := range list {
		if list[i].Seen.After(now) || now.Sub(list[i].Seen) > time.Minute {
			s.Errorf("node %s was seen %s, and it is %s", list[i].ID, list[i].Seen, now)
		}
		list[i].Seen = time.Time{}
	}
	return list
}

func nodesAreListed(s *shared) {
	s.same(len(s.listNodes()), 0)
	b := store.Node{ID: "1", Name: "b", Version: "v1", Started: s.now, Clock: s.now.Add(-time.Hour), Details: json.RawMessage(`{"a": "ä<&>"}`)}
	a2, a1 := store.Node{ID: "3", Name: "a", Started: s.now, Clock: s.now}, store.Node{ID: "2", Name: "a", Started: s.now, Clock: s.now}
	for _, n := range []store.Node{b, a2, a1} {
		s.is(s.nodes.SeeNode(s.ctx, n), nil)
	}
	s.same(s.listNodes(), []store.Node{a1, a2, b})
	b.Version, b.Clock, b.Details = "v2", s.now, nil
	s.is(s.nodes.SeeNode(s.ctx, b), nil)
	s.is(s.nodes.RemoveNode(s.ctx, a1.ID), nil)
	s.is(s.nodes.RemoveNode(s.ctx, a1.ID), nil)
	s.same(s.listNodes(), []store.Node{a2, b})
}

func nodesShareSecrets(s *shared) {
	for _, name := range []string{"one", "two"} {
		secrets := make([][]byte, rivals)
		s.all(race(rivals, func(i int) (err error) {
			secrets[i], err = s.nodes.Secret(s.ctx, name, append([]byte(name), byte(i)))
			return err
		}))
		for i := range secrets {
			s.same(secrets[i], secrets[0])
		}
		s.same(bytes.HasPrefix(secrets[0], []byte(name)), true)
	}
}
