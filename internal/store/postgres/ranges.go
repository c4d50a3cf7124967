package postgres

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"chancery/internal/serial"
	"chancery/internal/store"
)

// The table of certificates can be divided into partitions by ranges of serials,
// that is, of the time when they were made: then what is old goes as a whole
// table, and each index is as small as its range. The ranges follow each other;
// what is below the first is in certificates_before. What has no range, as
// serials that other CAs made may have none, is in certificates_rest.

const (
	selectRange  = "SELECT 1 FROM certificate_ranges WHERE low = $1"
	selectRanges = "SELECT low, high, " + serverClock + " FROM certificate_ranges ORDER BY low"
	insertRange  = "INSERT INTO certificate_ranges (low, high) VALUES ($1, $2)"
	deleteRange  = "DELETE FROM certificate_ranges WHERE low = $1"

	selectAnyCertificate = "SELECT 1 FROM certificates LIMIT 1"
	selectIndexes        = "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename = 'certificates' AND indexname <> 'certificates_pkey'"
	renameUndivided      = "ALTER TABLE certificates RENAME TO certificates_undivided"
	createDivided        = "CREATE TABLE certificates (LIKE certificates_undivided INCLUDING ALL EXCLUDING INDEXES) PARTITION BY RANGE (serial)"
	dropUndivided        = "DROP TABLE certificates_undivided"
	createDividedKey     = "ALTER TABLE certificates ADD PRIMARY KEY (serial, issuer_id)"
	createRest           = "CREATE TABLE certificates_rest PARTITION OF certificates DEFAULT"

	// Whoever needs a lock on the table that stops others waits for it so long
	// only, since they queue behind, and tries again another time.
	waitShortly = "SELECT set_config('lock_timeout', '500', true)"
	// lockNotAvailable is the SQLSTATE of that.
	lockNotAvailable = "55P03"
	undefinedTable   = "42P01"
	lockCertificates = "LOCK TABLE certificates IN ACCESS EXCLUSIVE MODE"

	// rangesAhead is how many ranges follow the one of today.
	rangesAhead = 2
	// leastSpan keeps the number of tables sane.
	leastSpan = time.Hour
)

// serialRange is the serials that begin with the prefix low or a higher one, below
// high.
type serialRange struct{ low, high [5]byte }

// table is the name of its partition.
func (r *serialRange) table() string { return "certificates_" + hex.EncodeToString(r.low[:]) }

// ranges are all ranges there are, in order, and what time it is.
type ranges struct {
	list []serialRange
	now  time.Time // by the server's clock
}

func (r *ranges) add(row *row) {
	var next serialRange
	row.fixed(next.low[:])
	row.fixed(next.high[:])
	r.list, r.now = append(r.list, next), row.time()
}

// next is the range that is to be made now: after the last, or around now where
// there is a gap. ok is false when there are enough, or none at all.
func (r *ranges) next(span time.Duration) (next serialRange, ok bool) {
	if len(r.list) == 0 {
		return next, false
	}
	last := r.list[len(r.list)-1]
	if span == 0 {
		span = serial.PrefixTime(last.high).Sub(serial.PrefixTime(last.low))
	}
	if low := serial.PrefixTime(last.high); low.After(r.now) {
		return rangeAt(low, span), !low.After(r.now.Add(rangesAhead * span))
	}
	next = rangeAt(r.now.Truncate(span), span)
	if bytes.Compare(next.low[:], last.high[:]) < 0 {
		next.low = last.high
	}
	return next, true
}

func rangeAt(low time.Time, span time.Duration) serialRange {
	return serialRange{[5]byte(serial.Prefix(low)), [5]byte(serial.Prefix(low.Add(span)))}
}

// errUndivided is for a database whose certificates can't be divided any more.
var errUndivided = errors.New("it has certificates already, in one table that can't be divided now: " +
	"leave out store.partition, or make an empty database, name it with store.partition in another configuration, and move all into it with chancery migrate")

// divide makes sure that the certificates are in partitions, if that was asked for.
func (s *Store) divide(ctx context.Context) error {
	span := s.span
	if span == 0 {
		return nil
	}
	if span < leastSpan {
		return fmt.Errorf("couldn't divide the certificates into spans of %s: the shortest is %s", span, leastSpan)
	}
	if divided, err := read(ctx, s, "look for partitions of certificates", isDivided); divided || err != nil {
		return err
	}
	return update(ctx, s, "divide the table of certificates", func(c *conn) error {
		var indexes []*query
		err := c.run(do(migrationLock), do(lockCertificates), ask(func(r *row) { indexes = append(indexes, do(r.text())) }, selectIndexes))
		if err != nil {
			return err
		}
		if divided, err := isDivided(c); divided || err != nil {
			return err
		}
		var now time.Time
		if err := c.one(func(r *row) { now = r.time() }, selectClock); err != nil {
			return err
		}
		first := rangeAt(now.Truncate(span), span)
		queries := append([]*query{do(renameUndivided), do(createDivided), do(dropUndivided), do(createDividedKey)}, indexes...)
		queries = append(queries, do(createRest), createBefore(&first))
		return c.run(append(queries, first.creation()...)...)
	})
}

// createBefore makes the partition of all below the first range.
func createBefore(first *serialRange) *query {
	return do("CREATE TABLE certificates_before PARTITION OF certificates FOR VALUES FROM (MINVALUE) TO (" + literal(first.low) + ")")
}

// isDivided is an error for a table that is not, and can't be any more.
func isDivided(c *conn) (bool, error) {
	divided, used := ask(nil, selectRanges), ask(nil, selectAnyCertificate)
	err := c.run(divided, used)
	if err == nil && divided.changed == 0 && used.changed > 0 {
		err = errUndivided
	}
	return divided.changed > 0, err
}

// literal is octets in SQL that takes no arguments.
func literal(octets [5]byte) string { return `'\x` + hex.EncodeToString(octets[:]) + "'" }

// creation makes the partition of a range, with what may have come into
// certificates_rest meanwhile. It is made beside the others first, so that they
// can be used until it joins them.
func (r *serialRange) creation() []*query {
	within := "serial >= " + literal(r.low) + " AND serial < " + literal(r.high)
	return []*query{
		do("CREATE TABLE " + r.table() + " (LIKE certificates INCLUDING ALL)"),
		do("WITH moved AS (DELETE FROM certificates_rest WHERE " + within + " RETURNING *) INSERT INTO " + r.table() + " SELECT * FROM moved"),
		do("ALTER TABLE certificates ATTACH PARTITION " + r.table() + " FOR VALUES FROM (" + literal(r.low) + ") TO (" + literal(r.high) + ")"),
		do(insertRange, r.low[:], r.high[:]),
	}
}

// tidyRanges makes the partitions of the time to come, and drops those that
// tidying has emptied.
func (s *Store) tidyRanges(ctx context.Context, cutoff store.TidyCutoff) error {
	err := s.extendRanges(ctx)
	if err == nil && !cutoff.Certificates.IsZero() {
		err = s.dropRanges(ctx, cutoff.Fence)
	}
	return err
}

// extendRanges makes the ranges of the time to come, where the table is divided:
// of the span that was asked for, else that of the last range.
func (s *Store) extendRanges(ctx context.Context) error {
	for {
		all, err := s.ranges(ctx)
		if _, ok := all.next(s.span); !ok || err != nil {
			return err
		}
		err = update(ctx, s, "make a partition of certificates", func(c *conn) error {
			var all ranges
			if err := c.run(do(waitShortly), do(migrationLock), ask(all.add, selectRanges)); err != nil {
				return err
			}
			if next, ok := all.next(s.span); ok {
				return c.run(next.creation()...)
			}
			return nil // another made it
		})
		if err != nil {
			return unlessBusy(err)
		}
	}
}

func (s *Store) ranges(ctx context.Context) (*ranges, error) {
	return read(ctx, s, "list the partitions of certificates", func(c *conn) (*ranges, error) {
		var all ranges
		err := c.run(ask(all.add, selectRanges))
		return &all, err
	})
}

// dropRanges removes the partitions of the past that have no certificates left.
// What comes there all the same finds its place in certificates_rest.
func (s *Store) dropRanges(ctx context.Context, fence store.Fence) error {
	all, err := s.ranges(ctx)
	if err != nil || len(all.list) == 0 {
		return err
	}
	empty, err := read(ctx, s, "look for certificates in partitions", func(c *conn) (empty []serialRange, err error) {
		there := make([]*query, 0, len(all.list))
		for i := range all.list {
			if serial.PrefixTime(all.list[i].high).Before(all.now.Add(-leastSpan)) {
				there = append(there, ask(nil, all.list[i].any()))
			}
		}
		err = c.unlessNone(there)
		for i := range there {
			if there[i].changed == 0 {
				empty = append(empty, all.list[i])
			}
		}
		return empty, err
	})
	for i := range empty {
		if err == nil {
			err = s.dropRange(ctx, &empty[i], fence)
		}
	}
	return unlessBusy(err)
}

// any is a query for any certificate in the range.
func (r *serialRange) any() string { return "SELECT 1 FROM " + r.table() + " LIMIT 1" }

func (s *Store) dropRange(ctx context.Context, r *serialRange, fence store.Fence) error {
	return update(ctx, s, "drop a partition of certificates", func(c *conn) error {
		present, there := ask(nil, selectRange, r.low[:]), ask(nil, r.any())
		err := c.run(append(fencing(fence), do(waitShortly), do(migrationLock), present, do(lockCertificates))...)
		if err != nil || present.changed == 0 {
			return asFenced(err)
		}
		if err := c.run(there); err != nil || there.changed > 0 {
			return err
		}
		return c.last(do(deleteRange, r.low[:]), do("DROP TABLE "+r.table()))
	})
}

// unlessBusy is nil where a lock was not to be had shortly, or another was
// faster: there is another time.
func unlessBusy(err error) error {
	if code := codeOf(err); code == lockNotAvailable || code == undefinedTable {
		return nil
	}
	return err
}
