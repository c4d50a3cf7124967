package postgres

import (
	"bytes"
	"context"
	"errors"
	"math"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	selectPartitionsChanged = "SELECT issuer_id, number, list_number, changed FROM partitions " +
		"WHERE issuer_id = $1 AND changed > published ORDER BY number LIMIT $2"
	selectPartitionsDue = "SELECT issuer_id, number, list_number, changed FROM partitions " +
		"WHERE issuer_id = $1 AND ended <> 1 AND next_update < $2 AND changed = published ORDER BY next_update, number LIMIT $3"
	selectPartitionsAhead = "SELECT issuer_id, number, list_number, changed FROM partitions " +
		"WHERE issuer_id = $1 AND next_update > $2 AND changed = published ORDER BY ended = 1, next_update, number LIMIT $3"
	selectPartition = "SELECT 1 FROM partitions WHERE issuer_id = $1 AND number = $2"

	selectRevoked = "SELECT serial, revoked, reason, not_after FROM certificates " +
		"WHERE issuer_id = $1 AND partition = $2 AND revoked > 0 AND (not_after, serial) > ($3, $4) ORDER BY not_after, serial LIMIT $5"
	selectPartitionRevoked = "SELECT partition FROM certificates " +
		"WHERE issuer_id = $1 AND partition > $2 AND revoked > 0 ORDER BY partition LIMIT 1"

	insertFullList = "INSERT INTO partitions (issuer_id, number, created, changed, published, list_number, next_update, ended) " +
		"VALUES ($1, 0, 0, 0, -1, 0, 0, 0) ON CONFLICT DO NOTHING"
	// A list that is published may be the last.
	updatePartitionPublished = "UPDATE partitions SET published = least($1, changed), list_number = $2, next_update = $3, ended = 2 " +
		"WHERE issuer_id = $4 AND number = $5 AND list_number < $2 AND published <= $1"
	upsertRevocationList = "INSERT INTO revocation_lists (issuer_id, partition, number, this_update, next_update, der) VALUES ($1, $2, $3, $4, $5, $6) " +
		"ON CONFLICT (issuer_id, partition) DO UPDATE SET number = excluded.number, this_update = excluded.this_update, " +
		"next_update = excluded.next_update, der = excluded.der WHERE revocation_lists.number < excluded.number"
	selectRevocationList = "SELECT number, this_update, next_update, der FROM revocation_lists WHERE issuer_id = $1 AND partition = $2"

	// It is the last when all certificates of the partitions from $2 to $3 had
	// expired at $4 and none is being issued. It must have had some, or, when
	// it is not the full list, have a successor, so that it gets none any more.
	updatePartitionEnded = "UPDATE partitions SET ended = 1 WHERE issuer_id = $1 AND number = $2 AND ended = 2 " +
		"AND NOT EXISTS (SELECT 1 FROM partitions p WHERE p.issuer_id = $1 AND p.number BETWEEN $2 AND $3 " +
		"AND EXISTS (SELECT 1 FROM certificates c WHERE c.issuer_id = $1 AND c.partition = p.number AND c.not_after >= $4)) " +
		"AND NOT EXISTS (SELECT 1 FROM intents i WHERE i.issuer_id = $1 AND i.partition BETWEEN $2 AND $3) " +
		"AND (EXISTS (SELECT 1 FROM partitions p WHERE p.issuer_id = $1 AND p.number BETWEEN $2 AND $3 " +
		"AND EXISTS (SELECT 1 FROM certificates c WHERE c.issuer_id = $1 AND c.partition = p.number)) " +
		"OR $2 > 0 AND EXISTS (SELECT 1 FROM partitions p WHERE p.issuer_id = $1 AND p.number = $2 + 1))"
)

// StaleLists implements store.RevocationLists. Revocations come before what is
// merely due.
func (s *Store) StaleLists(ctx context.Context, issuerIDs []string, nextUpdateBefore, nextUpdateAfter time.Time, limit int) ([]store.StaleList, error) {
	limit = form.PageSize(limit)
	return read(ctx, s, "list stale revocation lists", func(c *conn) (list []store.StaleList, err error) {
		add := func(r *row) {
			list = append(list, store.StaleList{IssuerID: r.text(), Partition: r.int64(), Number: r.int64(), Basis: r.int64()})
		}
		var queries []*query
		for _, id := range issuerIDs {
			known := ask(nil, selectPartition, id, 0)
			queries = append(queries, known, ask(add, selectPartitionsChanged, id, limit))
		}
		for _, id := range issuerIDs {
			queries = append(queries, ask(add, selectPartitionsDue, id, nextUpdateBefore, limit), ask(add, selectPartitionsAhead, id, nextUpdateAfter, limit))
		}
		err = c.unlessNone(queries)
		for i := len(issuerIDs) - 1; i >= 0 && err == nil; i-- {
			if queries[2*i].changed == 0 {
				list = insertUnknown(list, issuerIDs, i, queries)
			}
		}
		return list[:min(len(list), limit)], err
	})
}

// insertUnknown puts the full list of an issuer of which nothing is known
// before what it has.
func insertUnknown(list []store.StaleList, issuerIDs []string, i int, queries []*query) []store.StaleList {
	at := int64(0)
	for j := range i {
		at += queries[2*j+1].changed
	}
	return append(list[:at:at], append([]store.StaleList{{IssuerID: issuerIDs[i]}}, list[at:]...)...)
}

// revokedPage is how many entries are read at once: the caller's work on them
// holds no connection.
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
	type position struct {
		after  time.Time
		serial []byte
	}
	for at := (position{after: expiredAfter}); ; {
		next := at
		page, err := read(ctx, s, "list revoked certificates", func(c *conn) (page []store.RevokedEntry, err error) {
			err = c.each(func(r *row) {
				var entry store.RevokedEntry
				r.fixed(entry.Serial[:])
				entry.At, entry.Reason, next.after = r.time(), r.int(), r.time()
				page = append(page, entry)
			}, selectRevoked, issuerID, partition, at.after, at.serial, revokedPage)
			return page, err
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
		next.serial = page[len(page)-1].Serial[:]
		at = next
	}
}

// PublishList implements store.RevocationLists. Whether it is the last list is
// looked at in a second transaction: a certificate that is issued at this moment
// either sees that it may be, and makes the list go on, or is seen.
func (s *Store) PublishList(ctx context.Context, list store.RevocationList, basis int64, fence store.Fence) error {
	err := update(ctx, s, "publish revocation list", func(c *conn) error { return publish(c, &list, basis, fence) })
	if err != nil {
		return err
	}
	to := list.Partition
	if to == 0 {
		to = math.MaxInt64
	}
	return update(ctx, s, "end revocation list", func(c *conn) error {
		return c.fenced(fence, do(updatePartitionEnded, list.IssuerID, list.Partition, to, list.ThisUpdate))
	})
}

func publish(c *conn, list *store.RevocationList, basis int64, fence store.Fence) error {
	queries := fencing(fence)
	if list.Partition == 0 {
		queries = append(queries, do(insertFullList, list.IssuerID))
	}
	published := do(updatePartitionPublished, basis, list.Number, list.NextUpdate, list.IssuerID, list.Partition)
	if err := c.run(append(queries, published)...); err != nil {
		return asFenced(err)
	}
	if published.changed > 0 {
		return c.last(do(upsertRevocationList, list.IssuerID, list.Partition, list.Number, list.ThisUpdate, list.NextUpdate, list.DER))
	}
	if c.again {
		inForce, err := listInForce(c, list.IssuerID, list.Partition)
		if err == nil && inForce.Number == list.Number && bytes.Equal(inForce.DER, list.DER) {
			return nil
		}
	}
	return store.ErrClaimed
}

func listInForce(c *conn, issuerID string, partition int64) (store.RevocationList, error) {
	list := store.RevocationList{IssuerID: issuerID, Partition: partition}
	err := c.one(func(r *row) {
		list.Number, list.ThisUpdate, list.NextUpdate, list.DER = r.int64(), r.time(), r.time(), r.blob()
	}, selectRevocationList, issuerID, partition)
	return list, err
}

// RevocationList implements store.RevocationLists.
func (s *Store) RevocationList(ctx context.Context, issuerID string, partition int64) (store.RevocationList, error) {
	return read(ctx, s, "read revocation list", func(c *conn) (store.RevocationList, error) {
		return listInForce(c, issuerID, partition)
	})
}
