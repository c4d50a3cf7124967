package postgres

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	updateCertificateRevoked = "WITH revoked AS (UPDATE certificates SET revoked = $1, reason = $2 WHERE serial = $3 AND issuer_id = $4 AND revoked = 0 " +
		"RETURNING issuer_id, profile, not_after, partition, service), " +
		"counted AS (INSERT INTO certificate_changes (not_after, issuer_id, profile, good, revoked, abandoned) " +
		"SELECT not_after, issuer_id, profile, -1, 1, 0 FROM revoked) SELECT partition, service FROM revoked"
	// The lock comes first, in a statement of its own: the next then sees all
	// that those before it did to the service.
	lockService          = "SELECT 1 FROM services WHERE id = $1 FOR UPDATE"
	updateServiceRevoked = "UPDATE services SET valid_until = " + latestUnrevoked + " WHERE id = $1"

	// latestUnrevoked is the valid_until of a service.
	latestUnrevoked = "coalesce((SELECT max(not_after) FROM certificates WHERE service = services.id AND service <> '' AND revoked = 0), 0)"
)

// Revoke implements store.Certificates.
func (s *Store) Revoke(ctx context.Context, key store.CertificateKey, revocation store.Revocation) error {
	return update(ctx, s, "revoke certificate", func(c *conn) error {
		revoked, err := revoke(c, []store.CertificateKey{key}, revocation)
		if err != nil || len(revoked) > 0 {
			return err
		}
		certificate, err := oneCertificate(c, key)
		if err != nil || c.again && isSame(certificate.Revocation, &revocation) {
			return err
		}
		return store.ErrRevoked
	})
}

func isSame(a, b *store.Revocation) bool {
	return a != nil && form.Millis(a.At) == form.Millis(b.At) && a.Reason == b.Reason
}

// RevokeAll implements store.Certificates. When an attempt may have happened,
// those that have been revoked in just this way count as revoked by it.
func (s *Store) RevokeAll(ctx context.Context, keys []store.CertificateKey, revocation store.Revocation) ([]store.CertificateKey, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	return step(ctx, s, "revoke certificates", func(c *conn) ([]store.CertificateKey, error) {
		revoked, err := revoke(c, keys, revocation)
		if err != nil || !c.again {
			return revoked, err
		}
		for _, key := range keys {
			certificate, err := oneCertificate(c, key)
			if err == nil && isSame(certificate.Revocation, &revocation) && !slices.Contains(revoked, key) {
				revoked = append(revoked, key)
			}
		}
		return revoked, nil
	})
}

// revoke marks certificates as revoked, with what follows for their services,
// the counts and the revocation lists, and returns those that were there and
// not revoked. Rivals take certificates in the same order, then services, then
// lists.
func revoke(c *conn, keys []store.CertificateKey, revocation store.Revocation) (revoked []store.CertificateKey, err error) {
	type list struct {
		issuerID  string
		partition int64
	}
	lists, services := map[list]bool{}, map[string]bool{}
	gone := map[store.CertificateKey]bool{}
	queries := make([]*query, 0, len(keys))
	for _, key := range sortedKeys(keys) {
		queries = append(queries, ask(func(r *row) {
			gone[key] = true
			lists[list{key.IssuerID, r.int64()}] = true
			services[string(r.blob())] = true
		}, updateCertificateRevoked, revocation.At, revocation.Reason, key.Serial[:], key.IssuerID))
	}
	if err := c.run(queries...); err != nil || len(gone) == 0 {
		return nil, err
	}
	queries = nil
	for _, id := range slices.Sorted(maps.Keys(services)) {
		queries = append(queries, do(lockService, []byte(id)), do(updateServiceRevoked, []byte(id)))
	}
	changed := map[list]bool{}
	for l := range lists {
		changed[l], changed[list{l.issuerID, 0}] = true, true
	}
	order := func(a, b list) int {
		return cmp.Or(cmp.Compare(a.issuerID, b.issuerID), cmp.Compare(a.partition, b.partition))
	}
	for _, l := range slices.SortedFunc(maps.Keys(changed), order) {
		queries = append(queries, do(upsertPartitionChanged, l.issuerID, l.partition))
	}
	for _, key := range keys { // in the caller's order
		if gone[key] {
			revoked = append(revoked, key)
			delete(gone, key)
		}
	}
	return revoked, c.last(append(queries, changes(store.KindRevocations))...)
}

func sortedKeys(keys []store.CertificateKey) []store.CertificateKey {
	sorted := slices.Clone(keys)
	slices.SortFunc(sorted, func(a, b store.CertificateKey) int {
		return cmp.Or(bytes.Compare(a.Serial[:], b.Serial[:]), cmp.Compare(a.IssuerID, b.IssuerID))
	})
	return sorted
}
