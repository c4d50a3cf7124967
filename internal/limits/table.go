package limits

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	shards = 64
	// maxKeys bounds the memory of a table to some 40 MB.
	maxKeys = 1 << 20
)

// table counts events by the generic cell rate algorithm: of each key it keeps
// one number, the moment at which all that happened is worked off. A key of the
// past says nothing and may be dropped. Its methods may be called by any number
// of goroutines.
type table struct {
	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	mu   sync.Mutex
	most int              // keys, until the idle ones go
	done map[uint64]int64 // guarded by mu; by key: when its events are worked off, in ns since 1970
	_    [32]byte         // keeps neighbours off each other's cache line
}

func newTable(most int) *table {
	t := &table{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].most = max(1, most/shards)
		t.shards[i].done = map[uint64]int64{}
	}
	return t
}

// key names what is counted. Two keys whose hashes are equal, one pair in 2^64,
// share a count; nobody outside can aim for it, for the seed is random.
type key struct {
	limit string
	of    string // whose: an account, an address…
	more  string
}

// find hashes the rate, too: when that is changed, counting begins anew.
func (t *table) find(k key, rate Rate) (*shard, uint64) {
	hash := maphash.Comparable(t.seed, part{k, rate})
	return &t.shards[hash%shards], hash
}

// take counts one event unless the rate forbids it. Then it returns how long
// to wait.
func (t *table) take(k key, rate Rate, now time.Time) (wait time.Duration, ok bool) {
	s, hash := t.find(k, rate)
	moment, step := now.UnixNano(), rate.interval()
	s.mu.Lock()
	defer s.mu.Unlock()
	done, found := s.done[hash]
	next := max(done, moment) + step
	if over := next - moment - rate.span(); over > 0 {
		return time.Duration(over), false
	}
	if !found && len(s.done) >= s.most {
		s.sweep(moment)
	}
	s.done[hash] = next
	return 0, true
}

// refund takes one event back.
func (t *table) refund(k key, rate Rate) {
	s, hash := t.find(k, rate)
	s.mu.Lock()
	defer s.mu.Unlock()
	if done, found := s.done[hash]; found {
		s.done[hash] = done - rate.interval()
	}
}

// used is how many of the rate's events are not worked off yet, and how long
// to wait for the next; 0 for no wait.
func (t *table) used(k key, rate Rate, now time.Time) (count int, wait time.Duration) {
	s, hash := t.find(k, rate)
	s.mu.Lock()
	done := s.done[hash]
	s.mu.Unlock()
	return rate.left(time.Duration(done - now.UnixNano()))
}

// sweep needs mu. It drops idle keys and, when most are busy, any others: then
// somebody gets more than a limit allows, but memory has a bound.
func (s *shard) sweep(moment int64) {
	kept := make(map[uint64]int64, s.most)
	for hash, done := range s.done {
		if done > moment && len(kept) < s.most*3/4 {
			kept[hash] = done
		}
	}
	s.done = kept
}

// size is how many keys are kept.
func (t *table) size() (count int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		count += len(s.done)
		s.mu.Unlock()
	}
	return count
}
