package postgres

import (
	"bytes"
	"context"
	"slices"
	"time"

	"chancery/internal/store"
)

// A limit that counts nothing has no row, or one whose done is past.
const (
	// What is counted need not be on the disk before the answer: a server that
	// crashes may forget the events of its last moments. So rivals for one key
	// do not wait for the disk one after the other.
	commitLate = "SELECT set_config('synchronous_commit', 'off', true)"

	// Makes the rows that are missing, and locks them and all others, in the
	// order of the keys.
	lockLimits = "INSERT INTO limit_counts (key, done) SELECT key, 0 FROM unnest($1::bytea[]) AS events (key) " +
		"ON CONFLICT (key) DO UPDATE SET done = excluded.done WHERE false"
	// Counts one event of each at $4 unless one is over its limit. The rows are
	// those that are, by how much.
	updateLimits = "WITH next AS (SELECT e.key, e.place, greatest(l.done, $4) + e.step AS done, greatest(l.done, $4) + e.step - $4 - e.span AS over " +
		"FROM unnest($1::bytea[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS e (key, step, span, place) JOIN limit_counts l ON l.key = e.key), " +
		"taken AS (UPDATE limit_counts SET done = next.done FROM next WHERE limit_counts.key = next.key AND NOT EXISTS (SELECT 1 FROM next WHERE over > 0)) " +
		"SELECT place, over FROM next WHERE over > 0"

	lockLimitsThere = "SELECT 1 FROM limit_counts WHERE key = ANY ($1::bytea[]) ORDER BY key FOR UPDATE"
	refundLimits    = "UPDATE limit_counts SET done = done - e.step FROM unnest($1::bytea[], $2::bigint[]) AS e (key, step) WHERE limit_counts.key = e.key"
	selectLimits    = "SELECT key, done FROM limit_counts WHERE key = ANY ($1::bytea[])"

	deleteLimits = "DELETE FROM limit_counts WHERE key IN (SELECT key FROM limit_counts WHERE done < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)"
)

// events are events of limits in the order of their keys, as columns.
type events struct {
	keys         [][]byte
	steps, spans []int64 // ns
	place        []int   // of each in the caller's list
}

func sortedEvents(list []store.LimitEvent) *events {
	e := &events{place: make([]int, len(list))}
	for i := range list {
		e.place[i] = i
	}
	slices.SortFunc(e.place, func(a, b int) int { return bytes.Compare(list[a].Key[:], list[b].Key[:]) })
	for _, i := range e.place {
		e.keys = append(e.keys, list[i].Key[:])
		e.steps = append(e.steps, list[i].Interval.Nanoseconds())
		e.spans = append(e.spans, list[i].Span.Nanoseconds())
	}
	return e
}

// TakeEvents implements store.Limits. The rows are locked by a statement of its
// own, so that the next sees all that those before it counted. When a
// connection is lost at the wrong moment, events count twice: a limit never
// allows too much.
func (s *Store) TakeEvents(ctx context.Context, list []store.LimitEvent, now time.Time) (refused int, wait time.Duration, err error) {
	if len(list) == 0 {
		return -1, 0, nil
	}
	e := sortedEvents(list)
	refused, err = step(ctx, s, "count for limits", func(c *conn) (int, error) {
		refused := -1
		err := c.last(do(commitLate), do(lockLimits, e.keys), ask(func(r *row) {
			place := e.place[r.int()-1]
			if over := time.Duration(r.int64()); refused < 0 || place < refused {
				refused, wait = place, over
			}
		}, updateLimits, e.keys, e.steps, e.spans, now.UnixNano()))
		return refused, err
	})
	if err != nil || refused < 0 {
		wait = 0
	}
	return refused, wait, err
}

// RefundEvents implements store.Limits.
func (s *Store) RefundEvents(ctx context.Context, list []store.LimitEvent) error {
	if len(list) == 0 {
		return nil
	}
	e := sortedEvents(list)
	return update(ctx, s, "take events of limits back", func(c *conn) error {
		if c.again {
			return nil // it may have happened, and must not happen twice
		}
		return c.last(do(commitLate), do(lockLimitsThere, e.keys), do(refundLimits, e.keys, e.steps))
	})
}

// EventsDone implements store.Limits.
func (s *Store) EventsDone(ctx context.Context, keys []store.LimitKey) ([]time.Time, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	wanted := make([][]byte, len(keys))
	for i := range keys {
		wanted[i] = keys[i][:]
	}
	return read(ctx, s, "read what limits have counted", func(c *conn) ([]time.Time, error) {
		done := make(map[store.LimitKey]int64, len(keys))
		err := c.each(func(r *row) {
			var key store.LimitKey
			r.fixed(key[:])
			done[key] = r.int64()
		}, selectLimits, wanted)
		list := make([]time.Time, len(keys))
		for i, key := range keys {
			if done[key] > 0 {
				list[i] = time.Unix(0, done[key]).UTC()
			}
		}
		return list, err
	})
}
