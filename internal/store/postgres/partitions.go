package postgres

import (
	"context"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	insertPartition = "INSERT INTO partitions (issuer_id, number, created, changed, published, list_number, next_update, ended) " +
		"SELECT $1, coalesce(max(number), 0) + 1, $2, 0, -1, 0, 0, 0 FROM partitions WHERE issuer_id = $1 ON CONFLICT DO NOTHING RETURNING number"
	selectNewestPartition = "SELECT p.number, p.created, (SELECT count(*) FROM certificates c WHERE c.issuer_id = p.issuer_id AND c.partition = p.number) " +
		"FROM partitions p WHERE p.issuer_id = $1 AND p.number > 0 ORDER BY p.number DESC LIMIT 1"

	// The certificate is in the partition that its intent was given.
	updatePartitionsResumed = "UPDATE partitions SET ended = 0 WHERE issuer_id = $2 AND ended > 0 " +
		"AND number IN (0, (SELECT partition FROM certificates WHERE serial = $1 AND issuer_id = $2 AND NOT abandoned))"
	upsertPartitionChanged = "INSERT INTO partitions (issuer_id, number, created, changed, published, list_number, next_update, ended) " +
		"VALUES ($1, $2, 0, 1, -1, 0, 0, 0) ON CONFLICT (issuer_id, number) DO UPDATE SET changed = partitions.changed + 1"
)

// NewPartition implements store.RevocationLists.
func (s *Store) NewPartition(ctx context.Context, issuerID string, now time.Time) (store.Partition, error) {
	return step(ctx, s, "begin partition", func(c *conn) (store.Partition, error) {
		if c.again {
			p, err := newestPartition(c, issuerID)
			if err == nil && form.Millis(p.Created) == form.Millis(now) && p.Issued == 0 {
				return p, nil
			}
		}
		p := store.Partition{IssuerID: issuerID, Created: form.Time(form.Millis(now))}
		q := ask(func(r *row) { p.Number = r.int64() }, insertPartition, issuerID, now)
		err := c.last(q)
		if err == nil && q.changed == 0 {
			err = errConflict // another has taken the number
		}
		return p, err
	})
}

// NewestPartition implements store.RevocationLists.
func (s *Store) NewestPartition(ctx context.Context, issuerID string) (store.Partition, error) {
	return read(ctx, s, "read newest partition", func(c *conn) (store.Partition, error) { return newestPartition(c, issuerID) })
}

func newestPartition(c *conn, issuerID string) (store.Partition, error) {
	p := store.Partition{IssuerID: issuerID}
	err := c.one(func(r *row) { p.Number, p.Created, p.Issued = r.int64(), r.time(), r.int() }, selectNewestPartition, issuerID)
	return p, err
}

// markStale notes that a certificate of the partition was revoked: its list
// and the issuer's full list are to be made anew. A partition that is not
// there begins with it, so that no revocation can be lost.
func markStale(issuerID string, partition int64) []*query {
	queries := []*query{do(upsertPartitionChanged, issuerID, 0)}
	if partition != 0 {
		queries = append(queries, do(upsertPartitionChanged, issuerID, partition))
	}
	return queries
}
