package postgres

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	// The certificates $3 of the issuers $4: they are locked in one order by all,
	// and those that were revoked meanwhile are left out.
	updateRevoked = "WITH found AS (SELECT c.serial, c.issuer_id FROM unnest($3::bytea[], $4::text[]) AS wanted (serial, issuer_id) " +
		"JOIN certificates c ON c.serial = wanted.serial AND c.issuer_id = wanted.issuer_id WHERE c.revoked = 0 " +
		"ORDER BY c.serial, c.issuer_id FOR UPDATE OF c), " +
		"gone AS (UPDATE certificates c SET revoked = $1, reason = $2 FROM found WHERE c.serial = found.serial AND c.issuer_id = found.issuer_id " +
		"RETURNING c.serial, c.issuer_id, c.profile, c.not_after, c.partition, c.service), " +
		"counted AS (INSERT INTO certificate_changes (not_after, issuer_id, profile, good, revoked, abandoned) " +
		"SELECT not_after, issuer_id, profile, -1, 1, 0 FROM gone) SELECT serial, issuer_id, partition, service FROM gone"
	// The lock comes first, in a statement of its own: the next then sees all
	// that those before it did to the services.
	lockServices          = "SELECT 1 FROM services WHERE id = ANY ($1::bytea[]) ORDER BY id FOR UPDATE"
	updateServicesRevoked = "UPDATE services SET valid_until = " + latestUnrevoked + " WHERE id = ANY ($1::bytea[])"

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
	serials, issuers := make([][]byte, len(keys)), make([]string, len(keys))
	for i := range keys {
		serials[i], issuers[i] = keys[i].Serial[:], keys[i].IssuerID
	}
	err = c.each(func(r *row) {
		var key store.CertificateKey
		r.fixed(key.Serial[:])
		key.IssuerID = r.text()
		gone[key] = true
		lists[list{key.IssuerID, r.int64()}] = true
		services[string(r.blob())] = true
	}, updateRevoked, revocation.At, revocation.Reason, serials, issuers)
	if err != nil || len(gone) == 0 {
		return nil, err
	}
	var ids [][]byte
	for id := range services {
		ids = append(ids, []byte(id))
	}
	queries := []*query{do(lockServices, ids), do(updateServicesRevoked, ids)}
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
