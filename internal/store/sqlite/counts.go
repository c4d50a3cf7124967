package sqlite

import (
	"context"
	"errors"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

// Certificates are counted when they come, change and go, each in three rows (see
// package form).
const (
	upsertCounts = "INSERT INTO certificate_counts (level, start, issuer_id, profile, good, revoked, abandoned) " +
		"VALUES (0, 0, ?1, ?2, ?3, ?4, ?5), (1, ?6, ?1, ?2, ?3, ?4, ?5), (2, ?7, ?1, ?2, ?3, ?4, ?5) " +
		"ON CONFLICT DO UPDATE SET good = good + excluded.good, revoked = revoked + excluded.revoked, abandoned = abandoned + excluded.abandoned"
	deleteCounts = "DELETE FROM certificate_counts WHERE (level, start) IN (VALUES (1, ?1), (2, ?2)) AND issuer_id = ?3 AND profile = ?4 " +
		"AND good = 0 AND revoked = 0 AND abandoned = 0"

	sumCounts = "SELECT coalesce(sum(good), 0), coalesce(sum(revoked), 0), coalesce(sum(abandoned), 0) FROM certificate_counts " +
		"WHERE level = ?1 AND start >= ?2 AND start < ?3 AND (?4 = '' OR issuer_id = ?4) AND (?5 = '' OR profile = ?5)"
	countBetween = "SELECT count(*) FILTER (WHERE revoked = 0), count(*) FILTER (WHERE revoked > 0 AND abandoned = 0), count(*) FILTER (WHERE abandoned = 1) " +
		"FROM certificates INDEXED BY certificates_not_after " +
		"WHERE not_after >= ?1 AND not_after < ?2 AND (?3 = '' OR issuer_id = ?3) AND (?4 = '' OR profile = ?4)"
	selectLastSpan = "SELECT start FROM certificate_counts WHERE level = ?1 AND start >= ?2 AND start < ?3 AND issuer_id = ?4 " +
		"AND good + revoked + abandoned > 0 ORDER BY start DESC LIMIT 1"
	selectLastInSpan = "SELECT not_after FROM certificates INDEXED BY certificates_not_after " +
		"WHERE not_after >= ?1 AND not_after < ?2 AND issuer_id = ?3 ORDER BY not_after DESC LIMIT 1"
)

// tally counts certificates.
type tally struct{ good, revoked, abandoned int }

func (t tally) plus(u tally) tally {
	return tally{t.good + u.good, t.revoked + u.revoked, t.abandoned + u.abandoned}
}

func readTally(r *row) tally { return tally{r.int(), r.int(), r.int()} }

// countCertificate adds a certificate to the counts, or with -1 takes it away.
func countCertificate(c *conn, certificate *store.Certificate, n int) error {
	switch {
	case certificate.Abandoned:
		return count(c, certificate, tally{abandoned: n})
	case certificate.Revocation != nil:
		return count(c, certificate, tally{revoked: n})
	default:
		return count(c, certificate, tally{good: n})
	}
}

func countRevoked(c *conn, certificate *store.Certificate) error {
	return count(c, certificate, tally{good: -1, revoked: 1})
}

func count(c *conn, certificate *store.Certificate, t tally) error {
	end := form.Millis(certificate.NotAfter)
	_, err := c.exec(upsertCounts, certificate.IssuerID, certificate.Profile, t.good, t.revoked, t.abandoned,
		form.Beginning(end, form.ShortSpan), form.Beginning(end, form.LongSpan))
	return err
}

// uncount takes a certificate away, with rows that no longer count anything.
func uncount(c *conn, certificate *store.Certificate) error {
	if err := countCertificate(c, certificate, -1); err != nil {
		return err
	}
	end := form.Millis(certificate.NotAfter)
	_, err := c.exec(deleteCounts, form.Beginning(end, form.ShortSpan), form.Beginning(end, form.LongSpan), certificate.IssuerID, certificate.Profile)
	return err
}

// CountCertificates implements store.Certificates.
func (s *Store) CountCertificates(ctx context.Context, issuerID, profile string, now time.Time) (store.CertificateCounts, error) {
	return read(ctx, s, "count certificates", func(c *conn) (store.CertificateCounts, error) {
		var all tally
		err := c.one(func(r *row) { all = readTally(r) }, sumCounts, form.LevelAll, 0, 1, issuerID, profile)
		if err != nil {
			return store.CertificateCounts{}, err
		}
		left, err := endingFrom(c, issuerID, profile, form.Millis(now))
		return store.CertificateCounts{
			Valid: left.good, Expired: all.good - left.good, Revoked: all.revoked, Abandoned: all.abandoned,
		}, err
	})
}

// endingFrom counts the certificates whose NotAfter is at that moment or later.
func endingFrom(c *conn, issuerID, profile string, moment int64) (sum tally, err error) {
	short, long := form.Rest(moment)
	add := func(r *row) { sum = sum.plus(readTally(r)) }
	return sum, errors.Join(
		c.one(add, countBetween, moment, short, issuerID, profile),
		c.one(add, sumCounts, form.LevelShort, short, long, issuerID, profile),
		c.one(add, sumCounts, form.LevelLong, long, form.EndOfTime, issuerID, profile),
	)
}

// Unexpired implements store.Certificates.
func (s *Store) Unexpired(ctx context.Context, issuerID string, now time.Time) (count int, last time.Time, err error) {
	count, err = read(ctx, s, "count certificates", func(c *conn) (int, error) {
		left, err := endingFrom(c, issuerID, "", form.Millis(now)+1)
		count := left.good + left.revoked + left.abandoned
		if err == nil && count > 0 {
			last, err = lastEnd(c, issuerID)
		}
		return count, err
	})
	return count, last, err
}

// lastEnd is the last NotAfter of an issuer's certificates.
func lastEnd(c *conn, issuerID string) (last time.Time, err error) {
	var long, short int64
	if err := c.one(func(r *row) { long = r.int64() }, selectLastSpan, form.LevelLong, 0, form.EndOfTime, issuerID); err != nil {
		return last, err
	}
	if err := c.one(func(r *row) { short = r.int64() }, selectLastSpan, form.LevelShort, long, long+form.LongSpan, issuerID); err != nil {
		return last, err
	}
	err = c.one(func(r *row) { last = r.time() }, selectLastInSpan, short, short+form.ShortSpan, issuerID)
	return last, err
}
