package sqlite

import (
	"context"
	"errors"
	"time"

	"chancery/internal/store"
)

const (
	// An order that is being finalized is never removed: Finalized and no end.
	deleteOrders = "DELETE FROM orders WHERE rowid IN (SELECT rowid FROM orders WHERE expires < ? " +
		"AND NOT (finalized > 0 AND certificate_issuer = '' AND failure = '') ORDER BY expires LIMIT ?)"
	// Nor is an authorization that an order lists, its own or another.
	deleteAuthorizations = "DELETE FROM authorizations WHERE rowid IN (SELECT a.rowid FROM authorizations a WHERE a.expires < ? " +
		"AND NOT EXISTS (SELECT 1 FROM orders WHERE id = a.order_id) " +
		"AND NOT EXISTS (SELECT 1 FROM authorization_reuses r JOIN orders o ON o.id = r.order_id WHERE r.authorization_id = a.id) " +
		"ORDER BY a.expires LIMIT ?) RETURNING id"
	deleteReuses              = "DELETE FROM authorization_reuses WHERE authorization_id = ?"
	selectCertificatesExpired = "SELECT serial, issuer_id, profile, not_after, abandoned, revoked, service FROM certificates WHERE not_after < ? ORDER BY not_after LIMIT ?"
	deleteCertificate         = "DELETE FROM certificates WHERE serial = ? AND issuer_id = ?"
)

// tidyBatch is how many records one transaction removes: few enough that the
// steps behind it hardly wait.
const tidyBatch = 100

// Tidy implements store.Store. Orders go first, so that the authorizations
// they listed can go with them.
func (s *Store) Tidy(ctx context.Context, cutoff store.TidyCutoff, limit int) (removed int, err error) {
	for _, kind := range []struct {
		cutoff time.Time
		remove func(c *conn, cutoff time.Time, limit int) (int, error)
	}{
		{cutoff.Orders, removeOrders},
		{cutoff.Authorizations, removeAuthorizations},
		{cutoff.Certificates, removeCertificates},
		{cutoff.Tokens, removeSpentTokens},
	} {
		if kind.cutoff.IsZero() {
			continue
		}
		n, kindErr := s.removeInBatches(ctx, kind.cutoff, limit, kind.remove)
		removed += n
		err = errors.Join(err, kindErr)
	}
	return removed, err
}

func (s *Store) removeInBatches(ctx context.Context, cutoff time.Time, limit int, remove func(*conn, time.Time, int) (int, error)) (removed int, err error) {
	for removed < limit {
		size := min(tidyBatch, limit-removed)
		n, err := step(ctx, s, "tidy", func(c *conn) (int, error) { return remove(c, cutoff, size) })
		removed += n
		if err != nil || n < size {
			return removed, err
		}
	}
	return removed, nil
}

func removeOrders(c *conn, cutoff time.Time, limit int) (int, error) {
	n, err := c.exec(deleteOrders, cutoff, limit)
	return int(n), err
}

func removeAuthorizations(c *conn, cutoff time.Time, limit int) (int, error) {
	var ids []string
	if err := c.each(func(r *row) { ids = append(ids, r.text()) }, deleteAuthorizations, cutoff, limit); err != nil {
		return 0, err
	}
	for _, id := range ids {
		if _, err := c.exec(deleteReuses, id); err != nil {
			return 0, err
		}
	}
	return len(ids), nil
}

func removeCertificates(c *conn, cutoff time.Time, limit int) (int, error) {
	type expired struct {
		store.Certificate
		service int64
	}
	var list []expired
	err := c.each(func(r *row) {
		var e expired
		r.fixed(e.Serial[:])
		e.IssuerID, e.Profile, e.NotAfter, e.Abandoned = r.text(), r.text(), r.time(), r.bool()
		if at := r.time(); !at.IsZero() {
			e.Revocation = &store.Revocation{At: at}
		}
		e.service = r.int64()
		list = append(list, e)
	}, selectCertificatesExpired, cutoff, limit)
	if err != nil {
		return 0, err
	}
	for i := range list {
		if err := removeCertificate(c, &list[i].Certificate, list[i].service); err != nil {
			return 0, err
		}
	}
	return len(list), nil
}

func removeCertificate(c *conn, certificate *store.Certificate, service int64) error {
	if _, err := c.exec(deleteCertificate, certificate.Serial[:], certificate.IssuerID); err != nil {
		return err
	}
	if err := leaveService(c, certificate, service); err != nil {
		return err
	}
	return uncount(c, certificate)
}
