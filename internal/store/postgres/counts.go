package postgres

import (
	"context"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

// Certificates are counted when they come, change and go (see package form). Each
// time a row is added to certificate_changes; now and then these are taken away
// again and added to the three rows of certificate_counts.
const (
	// What is taken away is taken away by this process only, and the rows are
	// changed in one order by all.
	foldChanges = "WITH gone AS (DELETE FROM certificate_changes WHERE id IN (SELECT id FROM certificate_changes ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED) " +
		"RETURNING not_after, issuer_id, profile, good, revoked, abandoned), " + spansOfGone + ", added AS (" + addSpans + ") SELECT 1 FROM gone"
	// Adds rows called gone to the counts.
	addGone     = spansOfGone + addSpans
	spansOfGone = "spans AS (SELECT 0 AS level, 0::bigint AS start, issuer_id, profile, good, revoked, abandoned FROM gone " +
		"UNION ALL SELECT 1, not_after / 65536 * 65536, issuer_id, profile, good, revoked, abandoned FROM gone " +
		"UNION ALL SELECT 2, not_after / 33554432 * 33554432, issuer_id, profile, good, revoked, abandoned FROM gone)"
	addSpans = " INSERT INTO certificate_counts (level, start, issuer_id, profile, good, revoked, abandoned) " +
		"SELECT level, start, issuer_id, profile, sum(good), sum(revoked), sum(abandoned) FROM spans " +
		"GROUP BY level, start, issuer_id, profile ORDER BY level, start, issuer_id, profile " +
		"ON CONFLICT (level, start, issuer_id, profile) DO UPDATE SET good = certificate_counts.good + excluded.good, " +
		"revoked = certificate_counts.revoked + excluded.revoked, abandoned = certificate_counts.abandoned + excluded.abandoned"

	sums      = "SELECT coalesce(sum(good), 0)::bigint, coalesce(sum(revoked), 0)::bigint, coalesce(sum(abandoned), 0)::bigint FROM "
	ofKind    = "($1 = '' OR issuer_id = $1) AND ($2 = '' OR profile = $2) "
	sumCounts = sums + "certificate_counts WHERE " + ofKind + "AND level = $3 AND start >= $4 AND start < $5"
	// All that end at $3 or later.
	sumChanges   = sums + "certificate_changes WHERE " + ofKind + "AND not_after >= $3"
	countBetween = "SELECT count(*) FILTER (WHERE revoked = 0), count(*) FILTER (WHERE revoked > 0 AND NOT abandoned), count(*) FILTER (WHERE abandoned) " +
		"FROM certificates WHERE " + ofKind + "AND not_after >= $3 AND not_after < $4"
	selectLastEnd = "SELECT coalesce(max(ends), 0)::bigint FROM (SELECT (SELECT max(c.not_after) FROM certificates c WHERE c.issuer_id = $1 AND c.partition = p.number) AS ends " +
		"FROM (SELECT number FROM partitions WHERE issuer_id = $1 UNION SELECT 0) p) e"
)

// tally counts certificates.
type tally struct{ good, revoked, abandoned int }

func (t *tally) add(r *row) {
	t.good, t.revoked, t.abandoned = t.good+r.int(), t.revoked+r.int(), t.abandoned+r.int()
}

// endingFrom adds up the certificates whose NotAfter is at that moment or later.
func endingFrom(sum *tally, issuerID, profile string, moment int64) []*query {
	short, long := form.Rest(moment)
	return []*query{
		ask(sum.add, countBetween, issuerID, profile, moment, short),
		ask(sum.add, sumChanges, issuerID, profile, short),
		ask(sum.add, sumCounts, issuerID, profile, form.LevelShort, short, long),
		ask(sum.add, sumCounts, issuerID, profile, form.LevelLong, long, form.EndOfTime),
	}
}

// CountCertificates implements store.Certificates.
func (s *Store) CountCertificates(ctx context.Context, issuerID, profile string, now time.Time) (store.CertificateCounts, error) {
	return read(ctx, s, "count certificates", func(c *conn) (store.CertificateCounts, error) {
		var all, left tally
		err := c.snapshot(append(endingFrom(&left, issuerID, profile, form.Millis(now)),
			ask(all.add, sumChanges, issuerID, profile, form.StartOfTime),
			ask(all.add, sumCounts, issuerID, profile, form.LevelAll, 0, 1))...)
		return store.CertificateCounts{
			Valid: left.good, Expired: all.good - left.good, Revoked: all.revoked, Abandoned: all.abandoned,
		}, err
	})
}

// Unexpired implements store.Certificates.
func (s *Store) Unexpired(ctx context.Context, issuerID string, now time.Time) (count int, last time.Time, err error) {
	count, err = read(ctx, s, "count certificates", func(c *conn) (int, error) {
		var left tally
		end := time.Time{}
		err := c.snapshot(append(endingFrom(&left, issuerID, "", form.Millis(now)+1),
			ask(func(r *row) { end = r.time() }, selectLastEnd, issuerID))...)
		count := left.good + left.revoked + left.abandoned
		if last = end; count == 0 {
			last = time.Time{}
		}
		return count, err
	})
	return count, last, err
}
