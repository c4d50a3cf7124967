package storetest

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"chancery/internal/store"
)

// RunShared runs the suite of what a store offers nodes. open makes an empty
// one that is closed by the test's cleanup.
func RunShared(t *testing.T, open func(t *testing.T) store.Shared) {
	for _, group := range []struct {
		name  string
		tests map[string]func(*shared)
	}{
		{"nonces", nonceTests()},
		{"limits", limitTests()},
		{"leases", leaseTests()},
		{"versions", versionTests()},
		{"nodes", nodeTests()},
	} {
		t.Run(group.name, func(t *testing.T) {
			for name, test := range group.tests {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					s := open(t)
					test(&shared{newSuite(t, s), s})
				})
			}
		})
	}
}

// shared is a suite for a store of nodes.
type shared struct {
	*suite
	nodes store.Shared // the suite's store
}

func nonceTests() map[string]func(*shared) {
	return map[string]func(*shared){
		"are spent once":             noncesAreSpent,
		"are spent many at once":     noncesAreSpentTogether,
		"that are old are spent":     oldNonces,
		"race for one":               raceNonce,
		"race for many":              raceNonces,
		"race with what tidies them": raceTidyNonces,
	}
}

// nonce is one that is made at that time.
func nonce(made time.Time) (id store.NonceID) {
	binary.BigEndian.PutUint64(id[:], uint64(made.UnixMilli())<<16)
	_, _ = rand.Read(id[6:])
	return id
}

func (s *shared) spend(ids ...store.NonceID) []bool {
	s.Helper()
	fresh, err := s.nodes.SpendNonces(s.ctx, ids)
	s.must(err)
	return fresh
}

func noncesAreSpent(s *shared) {
	one, two := nonce(s.now), nonce(s.now)
	s.same(s.spend(one), []bool{true})
	s.same(s.spend(one), []bool{false})
	s.same(s.spend(two, one), []bool{true, false})
	s.same(len(s.spend()), 0)
}

func noncesAreSpentTogether(s *shared) {
	ids, want := make([]store.NonceID, 300), make([]bool, 300)
	var some []store.NonceID
	for i := range ids {
		ids[i] = nonce(s.now.Add(time.Duration(i*7919%300) * time.Millisecond))
		if want[i] = i%3 > 0; !want[i] {
			some = append(some, ids[i])
		}
	}
	s.spend(some...)
	s.same(s.spend(ids...), want)
	s.same(s.spend(ids...), make([]bool, len(ids)))
}

func oldNonces(s *shared) {
	cutoff := s.now.Add(-time.Minute)
	spent, unspent := nonce(cutoff.Add(-time.Millisecond)), nonce(cutoff.Add(-time.Millisecond))
	first := store.NonceID(append(nonceTime(cutoff), make([]byte, 10)...))
	s.spend(spent, first)
	s.tidy(store.TidyCutoff{Nonces: cutoff})
	s.same(s.spend(spent, unspent, first, nonce(cutoff), nonce(s.now)), []bool{false, false, false, true, true})
	s.tidy(store.TidyCutoff{Nonces: cutoff.Add(-time.Hour)}) // never goes back
	s.tidy(store.TidyCutoff{Orders: s.now})
	s.same(s.spend(spent, unspent, nonce(s.now)), []bool{false, false, true})
	s.same(s.tidy(store.TidyCutoff{Nonces: s.now.Add(time.Minute)})+s.tidy(store.TidyCutoff{Nonces: s.now.Add(time.Minute)}) > 0, true)
	s.same(s.spend(first, nonce(s.now)), []bool{false, false})
}

func nonceTime(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(t.UnixMilli())<<16)[:6]
}

func raceNonce(s *shared) {
	for range rounds {
		id := nonce(s.now)
		errs := race(rivals, func(int) error {
			fresh, err := s.nodes.SpendNonces(s.ctx, []store.NonceID{id})
			if err == nil && !fresh[0] {
				err = store.ErrUsed
			}
			return err
		})
		s.oneWins(errs, store.ErrUsed)
	}
}

// raceNonces has rivals spend the same nonces, each in an order of its own.
func raceNonces(s *shared) {
	for range rounds / 5 {
		ids := make([]store.NonceID, 40)
		won := make([]atomic.Int64, len(ids))
		for i := range ids {
			ids[i] = nonce(s.now)
		}
		s.all(race(rivals, func(rival int) error {
			mine := make([]store.NonceID, len(ids))
			for i := range ids {
				mine[i] = ids[(i*7+rival*11)%len(ids)]
			}
			fresh, err := s.nodes.SpendNonces(s.ctx, mine)
			for i := range fresh {
				if fresh[i] {
					won[(i*7+rival*11)%len(ids)].Add(1)
				}
			}
			return err
		}))
		for i := range won {
			s.same(won[i].Load(), int64(1))
		}
	}
}

// raceTidyNonces spends nonces again and again while they are being tidied up.
func raceTidyNonces(s *shared) {
	for round := range rounds {
		cutoff := s.now.Add(time.Duration(round) * time.Minute)
		ids := make([]store.NonceID, 20)
		for i := range ids {
			ids[i] = nonce(cutoff.Add(time.Duration(i-10) * time.Second))
		}
		slices.SortFunc(ids, func(a, b store.NonceID) int { return bytes.Compare(a[:], b[:]) })
		s.same(s.spend(ids...), slices.Repeat([]bool{true}, len(ids)))
		s.all(race(rivals, func(i int) error {
			if i%2 == 0 {
				_, err := s.nodes.Tidy(s.ctx, store.TidyCutoff{Nonces: cutoff.Add(time.Duration(i-4) * time.Second)}, 1000)
				return err
			}
			fresh, err := s.nodes.SpendNonces(s.ctx, ids)
			if slices.Contains(fresh, true) {
				s.Errorf("nonces were spent again: %v", fresh)
			}
			return err
		}))
	}
}

// all ends the test at any error.
func (s *suite) all(errs []error) {
	s.Helper()
	for _, err := range errs {
		s.must(err)
	}
}

func limitTests() map[string]func(*shared) {
	return map[string]func(*shared){
		"forbid what is too much":   limitsForbid,
		"count all or none":         limitsCountAll,
		"are refunded":              limitsAreRefunded,
		"are told":                  limitsAreTold,
		"that are idle are removed": limitsAreTidied,
		"are exact":                 raceLimits,
		"of many never fail":        raceManyLimits,
	}
}

// event is one of a limit of so many a minute.
func event(name string, many int) store.LimitEvent {
	e := store.LimitEvent{Interval: time.Minute / time.Duration(many), Span: time.Minute}
	copy(e.Key[:], name)
	return e
}

// takes reports when a call has another result.
func (s *shared) takes(after time.Duration, wantRefused int, wantWait time.Duration, events ...store.LimitEvent) {
	s.Helper()
	refused, wait, err := s.nodes.TakeEvents(s.ctx, events, s.now.Add(after))
	s.must(err)
	if refused != wantRefused || wait != wantWait {
		s.Errorf("%d is refused for %s, want %d for %s", refused, wait, wantRefused, wantWait)
	}
}

func limitsForbid(s *shared) {
	e, other := event("a", 3), event("b", 3)
	for range 3 {
		s.takes(0, -1, 0, e)
	}
	s.takes(0, 0, 20*time.Second, e)
	s.takes(15*time.Second, 0, 5*time.Second, e)
	s.takes(0, -1, 0, other)
	s.takes(20*time.Second, -1, 0, e)
	s.takes(20*time.Second, 0, 20*time.Second, e)
	s.takes(0, 0, 40*time.Second, e) // a clock that is behind
	s.takes(time.Hour, -1, 0, e)
	s.takes(time.Hour, -1, 0)
	s.takes(time.Hour+time.Nanosecond, -1, 0, e)
}

func limitsCountAll(s *shared) {
	one, two, many := event("z", 1), event("a", 2), event("m", 100)
	s.takes(0, -1, 0, one, two, many)
	s.takes(0, 2, time.Minute, many, two, one)
	s.takes(0, -1, 0, many, two)
	s.takes(0, 1, time.Minute, many, one, two) // the first that is over
	s.takes(0, 1, 30*time.Second, many, two, one)
	done, err := s.nodes.EventsDone(s.ctx, []store.LimitKey{many.Key, two.Key, one.Key})
	s.is(err, nil)
	s.same(done, []time.Time{s.now.Add(2 * many.Interval), s.now.Add(time.Minute), s.now.Add(time.Minute)})
}

func limitsAreRefunded(s *shared) {
	one, two := event("one", 1), event("two", 2)
	s.takes(0, -1, 0, two, one)
	s.is(s.nodes.RefundEvents(s.ctx, []store.LimitEvent{one, two, event("none", 5)}), nil)
	s.takes(0, -1, 0, one, two)
	s.takes(0, 1, time.Minute, two, one)
	s.is(s.nodes.RefundEvents(s.ctx, nil), nil)
}

func limitsAreTold(s *shared) {
	one, two := event("one", 1), event("two", 2)
	s.takes(time.Nanosecond, -1, 0, two)
	done, err := s.nodes.EventsDone(s.ctx, []store.LimitKey{one.Key, two.Key})
	s.is(err, nil)
	s.same(done, []time.Time{{}, s.now.Add(30*time.Second + time.Nanosecond)})
	done, err = s.nodes.EventsDone(s.ctx, nil)
	s.is(err, nil)
	s.same(len(done), 0)
}

func limitsAreTidied(s *shared) {
	short, long := event("short", 60), event("long", 1)
	s.takes(0, -1, 0, short, long)
	s.same(s.tidy(store.TidyCutoff{Limits: s.now.Add(30 * time.Second)}), 1)
	s.takes(0, 1, time.Minute, short, long)
	done, err := s.nodes.EventsDone(s.ctx, []store.LimitKey{short.Key})
	s.is(err, nil)
	s.same(done, []time.Time{{}})
}

// raceLimits has many more events than are allowed.
func raceLimits(s *shared) {
	for _, allowed := range []int{1, 50, 100} {
		e := event(s.id(), allowed)
		var taken atomic.Int64
		s.all(race(64, func(int) error {
			for range 3 {
				refused, _, err := s.nodes.TakeEvents(s.ctx, []store.LimitEvent{e}, s.now)
				if err != nil {
					return err
				}
				if refused < 0 {
					taken.Add(1)
				}
			}
			return nil
		}))
		s.same(taken.Load(), int64(allowed))
	}
}

// raceManyLimits takes, refunds and tidies events of several keys in all orders.
func raceManyLimits(s *shared) {
	list := []store.LimitEvent{event("a", 1000), event("b", 1000), event("c", 1000), event("d", 60)}
	var taken atomic.Int64
	s.all(race(2*rivals, func(i int) error {
		for j := range 20 {
			mine := slices.Clone(list)
			slices.SortFunc(mine, func(a, b store.LimitEvent) int { return int(a.Key[0]*byte(3*i+1)) - int(b.Key[0]*byte(3*i+1)) })
			refused, _, err := s.nodes.TakeEvents(s.ctx, mine, s.now)
			if err == nil && refused < 0 {
				taken.Add(1)
				if j%4 == 0 {
					taken.Add(-1)
					err = s.nodes.RefundEvents(s.ctx, mine)
				}
			}
			if err != nil {
				return err
			}
		}
		return nil
	}))
	s.same(taken.Load(), int64(60))
	done, err := s.nodes.EventsDone(s.ctx, []store.LimitKey{list[0].Key, list[3].Key})
	s.must(err)
	s.same(done, []time.Time{s.now.Add(60 * list[0].Interval), s.now.Add(time.Minute)})
}
