package sqlite

import (
	"context"
	"errors"
	"math"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	selectPartitionsChanged = "SELECT issuer_id, number, list_number, changed FROM partitions INDEXED BY partitions_changed " +
		"WHERE issuer_id = ? AND changed > published ORDER BY number LIMIT ?"
	selectPartitionsDue = "SELECT issuer_id, number, list_number, changed FROM partitions INDEXED BY partitions_due " +
		"WHERE issuer_id = ? AND ended = 0 AND next_update < ? AND changed = published ORDER BY next_update, number LIMIT ?"
	selectPartitionsAhead = "SELECT issuer_id, number, list_number, changed FROM partitions INDEXED BY partitions_due " +
		"WHERE issuer_id = ? AND ended = ? AND next_update > ? AND changed = published ORDER BY next_update, number LIMIT ?"
	selectPartition = "SELECT 1 FROM partitions WHERE issuer_id = ? AND number = ?"

	// The newest partitions come first: most likely it is they that have
	// what is looked for.
	selectPartitionUnexpired = "SELECT 1 FROM partitions p WHERE p.issuer_id = ? AND p.number BETWEEN ? AND ? " +
		"AND EXISTS (SELECT 1 FROM certificates c INDEXED BY certificates_partition WHERE c.issuer_id = p.issuer_id AND c.partition = p.number AND c.not_after >= ?) " +
		"ORDER BY p.number DESC LIMIT 1"

	selectRevoked = "SELECT serial, revoked, reason, not_after FROM certificates INDEXED BY certificates_listed " +
		"WHERE issuer_id = ? AND partition = ? AND revoked > 0 AND (not_after, serial) > (?, ?) ORDER BY not_after, serial LIMIT ?"
	selectPartitionRevoked = "SELECT partition FROM certificates INDEXED BY certificates_listed " +
		"WHERE issuer_id = ? AND partition > ? AND revoked > 0 ORDER BY partition LIMIT 1"

	insertFullList = "INSERT INTO partitions (issuer_id, number, created, changed, published, list_number, next_update, ended) " +
		"VALUES (?, 0, 0, 0, -1, 0, 0, 0) ON CONFLICT DO NOTHING"
	updatePartitionPublished = "UPDATE partitions SET published = min(?, changed), list_number = ?, next_update = ?, ended = ? " +
		"WHERE issuer_id = ? AND number = ? AND list_number < ? AND published <= ?"
	upsertRevocationList = "INSERT INTO revocation_lists (issuer_id, partition, number, this_update, next_update, der) VALUES (?, ?, ?, ?, ?, ?) " +
		"ON CONFLICT DO UPDATE SET number = excluded.number, this_update = excluded.this_update, next_update = excluded.next_update, der = excluded.der"
	selectRevocationList = "SELECT number, this_update, next_update, der FROM revocation_lists WHERE issuer_id = ? AND partition = ?"
)

// StaleLists implements store.RevocationLists. Revocations come before what is
// merely due.
func (s *Store) StaleLists(ctx context.Context, issuerIDs []string, nextUpdateBefore, nextUpdateAfter time.Time, limit int) ([]store.StaleList, error) {
	limit = form.PageSize(limit)
	return read(ctx, s, "list stale revocation lists", func(c *conn) (list []store.StaleList, err error) {
		add := func(r *row) {
			list = append(list, store.StaleList{IssuerID: r.text(), Partition: r.int64(), Number: r.int64(), Basis: r.int64()})
		}
		for _, id := range issuerIDs {
			known, err := exists(c, selectPartition, id, 0)
			if err != nil {
				return nil, err
			}
			if !known && len(list) < limit {
				list = append(list, store.StaleList{IssuerID: id})
			}
			if err := c.each(add, selectPartitionsChanged, id, limit-len(list)); err != nil {
				return nil, err
			}
		}
		for _, id := range issuerIDs {
			if err := c.each(add, selectPartitionsDue, id, nextUpdateBefore, limit-len(list)); err != nil {
				return nil, err
			}
			for _, ended := range []bool{false, true} {
				if err := c.each(add, selectPartitionsAhead, id, ended, nextUpdateAfter, limit-len(list)); err != nil {
					return nil, err
				}
			}
		}
		return list, nil
	})
}

// revokedPage is how many entries are read at once: the caller's work on them
// holds no connection, and no snapshot that would keep the log from shrinking.
const revokedPage = 1000

// Revoked implements store.RevocationLists.
func (s *Store) Revoked(ctx context.Context, issuerID string, partition int64, expiredAfter time.Time, each func(store.RevokedEntry) error) error {
	if partition != 0 {
		return s.revokedOf(ctx, issuerID, partition, expiredAfter, each)
	}
	for last := int64(-1); ; {
		next, err := s.nextRevoked(ctx, issuerID, last)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.revokedOf(ctx, issuerID, next, expiredAfter, each); err != nil {
			return err
		}
		last = next
	}
}

// nextRevoked is the first partition after last that has something revoked.
func (s *Store) nextRevoked(ctx context.Context, issuerID string, last int64) (int64, error) {
	return read(ctx, s, "list revoked certificates", func(c *conn) (next int64, err error) {
		err = c.one(func(r *row) { next = r.int64() }, selectPartitionRevoked, issuerID, last)
		return next, err
	})
}

// revokedOf is Revoked for exactly one partition.
func (s *Store) revokedOf(ctx context.Context, issuerID string, partition int64, expiredAfter time.Time, each func(store.RevokedEntry) error) error {
	after, serial := expiredAfter, []byte(nil)
	page := make([]store.RevokedEntry, 0, revokedPage)
	for {
		page = page[:0]
		_, err := read(ctx, s, "list revoked certificates", func(c *conn) (struct{}, error) {
			return struct{}{}, c.each(func(r *row) {
				var entry store.RevokedEntry
				r.fixed(entry.Serial[:])
				entry.At, entry.Reason, after = r.time(), r.int(), r.time()
				page = append(page, entry)
			}, selectRevoked, issuerID, partition, after, serial, revokedPage)
		})
		if err != nil {
			return err
		}
		for _, entry := range page {
			if err := each(entry); err != nil {
				return err
			}
		}
		if len(page) < revokedPage {
			return nil
		}
		serial = page[len(page)-1].Serial[:]
	}
}

// PublishList implements store.RevocationLists.
func (s *Store) PublishList(ctx context.Context, list store.RevocationList, basis int64, _ store.Fence) error {
	return update(ctx, s, "publish revocation list", func(c *conn) error {
		if list.Partition == 0 {
			if _, err := c.exec(insertFullList, list.IssuerID); err != nil {
				return err
			}
		}
		ended, err := isLast(c, &list)
		if err != nil {
			return err
		}
		changed, err := c.exec(updatePartitionPublished, basis, list.Number, list.NextUpdate, ended,
			list.IssuerID, list.Partition, list.Number, basis)
		if err != nil {
			return err
		}
		if changed == 0 {
			return store.ErrClaimed
		}
		_, err = c.exec(upsertRevocationList, list.IssuerID, list.Partition, list.Number, list.ThisUpdate, list.NextUpdate, list.DER)
		return err
	})
}

// isLast reports whether nobody needs a list after this one: all its
// certificates had expired. One that has none yet waits for them.
func isLast(c *conn, list *store.RevocationList) (bool, error) {
	from, to := list.Partition, list.Partition
	if list.Partition == 0 {
		to = math.MaxInt64
	}
	unexpired, err := exists(c, selectPartitionUnexpired, list.IssuerID, from, to, list.ThisUpdate)
	if err != nil || unexpired {
		return false, err
	}
	some, err := exists(c, selectPartitionUnexpired, list.IssuerID, from, to, time.Time{})
	if err != nil || some || list.Partition == 0 {
		return some, err
	}
	return exists(c, selectPartition, list.IssuerID, list.Partition+1) // so it gets none any more
}

// exists reports whether a query's answer has a row.
func exists(c *conn, sql string, args ...any) (bool, error) {
	err := c.one(func(*row) {}, sql, args...)
	return err == nil, ignoreIf(errors.Is(err, store.ErrNotFound), err)
}

// RevocationList implements store.RevocationLists.
func (s *Store) RevocationList(ctx context.Context, issuerID string, partition int64) (store.RevocationList, error) {
	return read(ctx, s, "read revocation list", func(c *conn) (store.RevocationList, error) {
		list := store.RevocationList{IssuerID: issuerID, Partition: partition}
		err := c.one(func(r *row) {
			list.Number, list.ThisUpdate, list.NextUpdate, list.DER = r.int64(), r.time(), r.time(), r.blob()
		}, selectRevocationList, issuerID, partition)
		return list, err
	})
}
