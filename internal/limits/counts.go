package limits

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"chancery/internal/failure"
	"chancery/internal/store"
)

// counts is where events are counted.
type counts interface {
	// take counts one event of each part, or none: then refused is the index of
	// the first whose rate forbids it, and wait how long; else it is -1.
	take(ctx context.Context, parts []part, now time.Time) (refused int, wait time.Duration, err error)
	refund(ctx context.Context, parts []part) error
	used(ctx context.Context, parts []part, now time.Time) ([]used, error)
	// size is how many things are counted now; 0 when that is not known.
	size() int
}

// used is how many of a rate's events are not worked off yet, and how long to
// wait for the next; 0 for no wait.
type used struct {
	count int
	wait  time.Duration
}

// memory counts for a single node.
type memory struct{ *table }

func (m memory) take(ctx context.Context, parts []part, now time.Time) (int, time.Duration, error) {
	for i, p := range parts {
		if wait, ok := m.table.take(p.key, p.rate, now); !ok {
			return i, wait, m.refund(ctx, parts[:i])
		}
	}
	return -1, 0, nil
}

func (m memory) refund(_ context.Context, parts []part) error {
	for _, p := range parts {
		m.table.refund(p.key, p.rate)
	}
	return nil
}

func (m memory) used(_ context.Context, parts []part, now time.Time) ([]used, error) {
	list := make([]used, len(parts))
	for i, p := range parts {
		list[i].count, list[i].wait = m.table.used(p.key, p.rate, now)
	}
	return list, nil
}

// shared counts for all nodes.
type shared struct{ store store.Limits }

// event is how the store knows a part. The rate is hashed, too: when that is
// changed, counting begins anew.
func (p part) event() store.LimitEvent {
	h := sha256.New()
	for _, text := range []string{p.key.limit, p.key.of, p.key.more, p.rate.String()} {
		_, _ = h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(text))))
		_, _ = h.Write([]byte(text)) // a hash never fails
	}
	return store.LimitEvent{
		Key:      store.LimitKey(h.Sum(nil)),
		Interval: time.Duration(p.rate.interval()), Span: time.Duration(p.rate.span()),
	}
}

// events are parts as the store counts them, each once.
func events(parts []part) []store.LimitEvent {
	list := make([]store.LimitEvent, len(parts))
	for i, p := range parts {
		list[i] = p.event()
	}
	return list
}

func (s shared) take(ctx context.Context, parts []part, now time.Time) (int, time.Duration, error) {
	if len(parts) == 0 {
		return -1, 0, nil
	}
	refused, wait, err := s.store.TakeEvents(ctx, events(parts), now)
	return refused, wait, failure.Wrap("count against the limits", err)
}

func (s shared) refund(ctx context.Context, parts []part) error {
	if len(parts) == 0 {
		return nil
	}
	return s.store.RefundEvents(ctx, events(parts))
}

func (s shared) used(ctx context.Context, parts []part, now time.Time) ([]used, error) {
	if len(parts) == 0 {
		return nil, nil
	}
	keys := make([]store.LimitKey, len(parts))
	for i, p := range parts {
		keys[i] = p.event().Key
	}
	done, err := s.store.EventsDone(ctx, keys)
	if err != nil {
		return nil, failure.Wrap("look at the limits", err)
	}
	list := make([]used, len(parts))
	for i, p := range parts {
		if !done[i].IsZero() {
			list[i].count, list[i].wait = p.rate.left(done[i].Sub(now))
		}
	}
	return list, nil
}

func (shared) size() int { return 0 }
