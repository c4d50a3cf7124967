package sqlite

import (
	"context"
	"errors"

	"chancery/internal/store"
)

const (
	updateCertificateRevoked = "UPDATE certificates SET revoked = ?, reason = ? WHERE serial = ? AND issuer_id = ? AND revoked = 0 " +
		"RETURNING profile, not_after, partition, service"
	updateServiceRevoked = "UPDATE services SET valid_until = " + latestUnrevoked + " WHERE number = ? AND valid_until <= ?"

	// latestUnrevoked is the valid_until of a service.
	latestUnrevoked = "coalesce((SELECT max(not_after) FROM certificates INDEXED BY certificates_unrevoked " +
		"WHERE service = number AND service > 0 AND revoked = 0), 0)"
)

// Revoke implements store.Certificates.
func (s *Store) Revoke(ctx context.Context, key store.CertificateKey, revocation store.Revocation) error {
	return update(ctx, s, "revoke certificate", func(c *conn) error {
		partition, err := revoke(c, key, revocation)
		switch {
		case err == nil:
			return markStale(c, key.IssuerID, partition)
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		if _, err := oneCertificate(c, key); err != nil {
			return err
		}
		return store.ErrRevoked
	})
}

// RevokeAll implements store.Certificates.
func (s *Store) RevokeAll(ctx context.Context, keys []store.CertificateKey, revocation store.Revocation) ([]store.CertificateKey, error) {
	type list struct {
		issuerID  string
		partition int64
	}
	return step(ctx, s, "revoke certificates", func(c *conn) (revoked []store.CertificateKey, err error) {
		stale := map[list]bool{}
		for _, key := range keys {
			switch partition, err := revoke(c, key, revocation); {
			case err == nil:
				revoked = append(revoked, key)
				stale[list{key.IssuerID, partition}] = true
			case !errors.Is(err, store.ErrNotFound):
				return nil, err
			}
		}
		for l := range stale {
			if err := markStale(c, l.issuerID, l.partition); err != nil {
				return nil, err
			}
		}
		return revoked, nil
	})
}

// revoke marks a certificate as revoked, with what follows for its service and
// the counts; the caller marks its revocation lists as stale. ErrNotFound when
// there is none, or it is revoked; then nothing changes.
func revoke(c *conn, key store.CertificateKey, revocation store.Revocation) (partition int64, err error) {
	gone := store.Certificate{CertificateKey: key}
	var service int64
	err = c.one(func(r *row) {
		gone.Profile, gone.NotAfter, partition, service = r.text(), r.time(), r.int64(), r.int64()
	}, updateCertificateRevoked, revocation.At, revocation.Reason, key.Serial[:], key.IssuerID)
	if err != nil {
		return 0, err
	}
	if service > 0 {
		if _, err := c.exec(updateServiceRevoked, service, gone.NotAfter); err != nil {
			return 0, err
		}
	}
	return partition, countRevoked(c, &gone)
}
