package sqlite

import (
	"context"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	insertPartition = "INSERT INTO partitions (issuer_id, number, created, changed, published, list_number, next_update, ended) " +
		"SELECT ?, coalesce(max(number), 0) + 1, ?, 0, -1, 0, 0, 0 FROM partitions WHERE issuer_id = ? RETURNING number"
	selectNewestPartition = "SELECT p.number, p.created, (SELECT count(*) FROM certificates c INDEXED BY certificates_partition " +
		"WHERE c.issuer_id = p.issuer_id AND c.partition = p.number) " +
		"FROM partitions p WHERE p.issuer_id = ? AND p.number > 0 ORDER BY p.number DESC LIMIT 1"

	upsertPartitionChanged = "INSERT INTO partitions (issuer_id, number, created, changed, published, list_number, next_update, ended) " +
		"VALUES (?, ?, 0, 1, -1, 0, 0, 0) ON CONFLICT DO UPDATE SET changed = changed + 1"
	updatePartitionsResumed = "UPDATE partitions SET ended = 0 WHERE issuer_id = ? AND number IN (0, ?) AND ended = 1"
)

// NewPartition implements store.RevocationLists.
func (s *Store) NewPartition(ctx context.Context, issuerID string, now time.Time) (store.Partition, error) {
	return step(ctx, s, "begin partition", func(c *conn) (store.Partition, error) {
		p := store.Partition{IssuerID: issuerID, Created: form.Time(form.Millis(now))}
		err := c.one(func(r *row) { p.Number = r.int64() }, insertPartition, issuerID, now, issuerID)
		return p, err
	})
}

// NewestPartition implements store.RevocationLists.
func (s *Store) NewestPartition(ctx context.Context, issuerID string) (store.Partition, error) {
	return read(ctx, s, "read newest partition", func(c *conn) (store.Partition, error) {
		p := store.Partition{IssuerID: issuerID}
		err := c.one(func(r *row) { p.Number, p.Created, p.Issued = r.int64(), r.time(), r.int() }, selectNewestPartition, issuerID)
		return p, err
	})
}

// markStale notes that a certificate of the partition was revoked: its list
// and the issuer's full list are to be made anew. A partition that is not
// there begins with it, so that no revocation can be lost.
func markStale(c *conn, issuerID string, partition int64) error {
	if _, err := c.exec(upsertPartitionChanged, issuerID, 0); err != nil || partition == 0 {
		return err
	}
	_, err := c.exec(upsertPartitionChanged, issuerID, partition)
	return err
}

// resumeLists is for a new certificate of the partition: lists that had ended
// go on.
func resumeLists(c *conn, issuerID string, partition int64) error {
	_, err := c.exec(updatePartitionsResumed, issuerID, partition)
	return err
}
