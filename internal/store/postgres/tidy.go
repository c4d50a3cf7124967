package postgres

import (
	"context"
	"errors"
	"time"

	"chancery/internal/store"
)

const (
	// An order that is being finalized is never removed: Finalized and no end.
	// With the last order that was to replace a certificate goes what was held
	// for that.
	deleteOrders = "WITH gone AS (DELETE FROM orders WHERE id IN (SELECT id FROM orders WHERE expires < $1 " +
		"AND NOT (finalized > 0 AND certificate_issuer = '' AND failure = '') ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED) " +
		"RETURNING replaces_serial, replaces_issuer), " +
		"free AS (DELETE FROM replacements USING gone WHERE serial = replaces_serial AND issuer_id = replaces_issuer) SELECT 1 FROM gone"
	// Nor is an authorization that an order lists, its own or another.
	deleteAuthorizations = "WITH gone AS (DELETE FROM authorizations WHERE id IN (SELECT a.id FROM authorizations a WHERE a.expires < $1 " +
		"AND NOT EXISTS (SELECT 1 FROM orders WHERE orders.id = a.order_id) " +
		"AND NOT EXISTS (SELECT 1 FROM authorization_reuses r JOIN orders o ON o.id = r.order_id WHERE r.authorization_id = a.id) " +
		"ORDER BY a.expires LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING id), " +
		"free AS (DELETE FROM authorization_reuses USING gone WHERE authorization_id = gone.id) SELECT 1 FROM gone"
	deleteSpentBefore = "DELETE FROM spent_tokens WHERE id IN (SELECT id FROM spent_tokens WHERE expires > 0 AND expires < $1 ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED)"

	deleteCertificates = "WITH gone AS (DELETE FROM certificates WHERE (serial, issuer_id) IN (SELECT serial, issuer_id FROM certificates " +
		"WHERE not_after < $1 ORDER BY not_after LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING issuer_id, profile, not_after, abandoned, revoked, service), " +
		"counted AS (INSERT INTO certificate_changes (not_after, issuer_id, profile, good, revoked, abandoned) SELECT not_after, issuer_id, profile, " +
		"CASE WHEN revoked = 0 THEN -1 ELSE 0 END, CASE WHEN revoked > 0 AND NOT abandoned THEN -1 ELSE 0 END, CASE WHEN abandoned THEN -1 ELSE 0 END FROM gone) " +
		"SELECT service, count(*), count(*) FILTER (WHERE NOT abandoned) FROM gone GROUP BY service ORDER BY service"
	deleteEmptyCounts = "DELETE FROM certificate_counts WHERE good = 0 AND revoked = 0 AND abandoned = 0"
)

// tidyBatch is how many records one transaction removes: few enough that the
// steps beside it hardly wait.
const tidyBatch = 100

// Tidy implements store.Store. Orders go first, so that the authorizations
// they listed can go with them. What another process is removing is left to it.
func (s *Store) Tidy(ctx context.Context, cutoff store.TidyCutoff, limit int) (removed int, err error) {
	for _, kind := range []struct {
		cutoff time.Time
		remove func(c *conn, limit int) (int, error)
	}{
		{cutoff.Orders, remover(deleteOrders, cutoff.Fence, cutoff.Orders)},
		{cutoff.Authorizations, remover(deleteAuthorizations, cutoff.Fence, cutoff.Authorizations)},
		{cutoff.Certificates, func(c *conn, limit int) (int, error) { return removeCertificates(c, &cutoff, limit) }},
		{cutoff.Tokens, remover(deleteSpentBefore, cutoff.Fence, cutoff.Tokens)},
		{cutoff.Limits, remover(deleteLimits, cutoff.Fence, cutoff.Limits.UnixNano())},
	} {
		if kind.cutoff.IsZero() {
			continue
		}
		n, kindErr := s.removeInBatches(ctx, limit, kind.remove)
		removed += n
		err = errors.Join(err, kindErr)
	}
	if !cutoff.Nonces.IsZero() {
		n, nonceErr := s.tidyNonces(ctx, cutoff, limit)
		removed += n
		err = errors.Join(err, nonceErr)
	}
	if err == nil {
		err = s.tidyRanges(ctx, cutoff)
	}
	if err != nil {
		return removed, err
	}
	return removed, errors.Join(s.catchUp(ctx), update(ctx, s, "tidy", func(c *conn) error { return c.fenced(cutoff.Fence, do(deleteEmptyCounts)) }))
}

func (s *Store) removeInBatches(ctx context.Context, limit int, remove func(c *conn, limit int) (int, error)) (removed int, err error) {
	for removed < limit {
		size := min(tidyBatch, limit-removed)
		n, err := step(ctx, s, "tidy", func(c *conn) (int, error) { return remove(c, size) })
		removed += n
		if err != nil || n < size {
			return removed, err
		}
	}
	return removed, nil
}

// remover removes what one statement does, which takes what is said and a limit.
func remover(sql string, fence store.Fence, until any) func(*conn, int) (int, error) {
	return func(c *conn, limit int) (int, error) {
		q := do(sql, until, limit)
		err := c.fenced(fence, q)
		return int(q.changed), err
	}
}

// removeCertificates takes them out of their services, too. A service goes with
// its last.
func removeCertificates(c *conn, cutoff *store.TidyCutoff, limit int) (removed int, err error) {
	var queries []*query
	gone := ask(func(r *row) {
		service, records, counted := r.blob(), r.int(), r.int()
		if removed += records; service == nil {
			return
		}
		// The first locks the service, so that the others see what it has.
		queries = append(queries, do(updateServiceLeft, service, records, counted), do(updateServiceNewest, service),
			do(deleteServiceParts, service), do(lockDomains, service), do(deleteServiceNames, service), do(deleteService, service))
	}, deleteCertificates, cutoff.Certificates, limit)
	if err := c.run(append(fencing(cutoff.Fence), gone)...); err != nil {
		return 0, asFenced(err)
	}
	return removed, c.last(queries...)
}
