package sqlite

import (
	"context"
	"errors"
	"time"

	"chancery/internal/failure"
	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	intentColumns = "serial, issuer_id, owner_kind, owner_id, owner_expires, partition, attempt, created, deadline, tbs, request"

	insertIntent  = "INSERT INTO intents (" + intentColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	selectIntents = "SELECT " + intentColumns + " FROM intents WHERE deadline < ? ORDER BY created, serial LIMIT ?"
	deleteIntent  = "DELETE FROM intents WHERE serial = ? AND issuer_id = ? RETURNING " + intentColumns

	updateOrderFinalized = "UPDATE orders SET finalized = ? WHERE id = ?"
	updateOrderIssued    = "UPDATE orders SET certificate_serial = ?, certificate_issuer = ? WHERE id = ?"
)

func readIntent(r *row) store.Intent {
	var i store.Intent
	r.fixed(i.Serial[:])
	i.IssuerID = r.text()
	i.Owner = store.Owner{Kind: store.OwnerKind(r.text()), ID: r.text()}
	i.OwnerExpires, i.Partition = r.time(), r.int64()
	i.Attempt, i.Created, i.Deadline = r.int(), r.time(), r.time()
	i.TBS, i.Request = r.blob(), r.blob()
	return i
}

func storeIntent(c *conn, i *store.Intent) error {
	_, err := c.exec(insertIntent, i.Serial[:], i.IssuerID, string(i.Owner.Kind), i.Owner.ID, i.OwnerExpires, i.Partition,
		i.Attempt, i.Created, i.Deadline, i.TBS, i.Request)
	return err
}

// takeIntent removes an intent and returns it, or ErrNotFound.
func takeIntent(c *conn, key store.CertificateKey) (i store.Intent, err error) {
	err = c.one(func(r *row) { i = readIntent(r) }, deleteIntent, key.Serial[:], key.IssuerID)
	return i, err
}

// BeginIssuance implements store.Issuance.
func (s *Store) BeginIssuance(ctx context.Context, intent store.Intent) error {
	return update(ctx, s, "begin issuance", func(c *conn) error {
		if err := claimOwner(c, &intent); err != nil {
			return err
		}
		return storeIntent(c, &intent)
	})
}

func claimOwner(c *conn, intent *store.Intent) error {
	switch intent.Owner.Kind {
	case store.OwnerOrder:
		return claimOrder(c, intent.Owner.ID, intent.Created)
	case store.OwnerToken:
		return spendToken(c, intent.Owner.ID, intent.OwnerExpires)
	default:
		return nil
	}
}

// claimOrder makes a ready order processing.
func claimOrder(c *conn, id string, now time.Time) error {
	order, err := oneOrder(c, id)
	if err != nil {
		return err
	}
	switch order.Status(now) {
	case store.OrderReady:
		_, err = c.exec(updateOrderFinalized, now, id)
		order.Finalized = now
		keepOrder(c, order)
		return err
	case store.OrderProcessing, store.OrderValid:
		return store.ErrClaimed
	default:
		return store.ErrNotReady
	}
}

// CompleteIssuance implements store.Issuance. The certificate's owner is the
// one its intent claimed, and its partition the one its intent was given.
func (s *Store) CompleteIssuance(ctx context.Context, certificate store.Certificate) error {
	return update(ctx, s, "complete issuance", func(c *conn) error {
		intent, err := takeIntent(c, certificate.CertificateKey)
		if errors.Is(err, store.ErrNotFound) {
			return checkCompleted(c, certificate.CertificateKey)
		}
		if err != nil {
			return err
		}
		certificate.Owner, certificate.Partition = intent.Owner, intent.Partition
		if err := insertCertificate(c, &certificate); err != nil {
			return err
		}
		if err := resumeLists(c, certificate.IssuerID, certificate.Partition); err != nil {
			return err
		}
		if intent.Owner.Kind != store.OwnerOrder {
			return nil
		}
		order, known := c.recent.current(intent.Owner.ID).(store.Order)
		_, err = c.exec(updateOrderIssued, certificate.Serial[:], certificate.IssuerID, intent.Owner.ID)
		if known {
			key := certificate.CertificateKey // without the rest of it, which would stay in memory, too
			order.Certificate = &key
			keepOrder(c, order)
		}
		return err
	})
}

// checkCompleted is for an intent that is settled: nil when that was by its
// certificate.
func checkCompleted(c *conn, key store.CertificateKey) error {
	certificate, err := oneCertificate(c, key)
	if err == nil && certificate.Abandoned {
		err = store.ErrNotFound
	}
	return err
}

// Intents implements store.Issuance.
func (s *Store) Intents(ctx context.Context, deadlineBefore time.Time, limit int) ([]store.Intent, error) {
	return read(ctx, s, "list intents", func(c *conn) (list []store.Intent, err error) {
		err = c.each(func(r *row) { list = append(list, readIntent(r)) }, selectIntents, deadlineBefore, form.PageSize(limit))
		return list, err
	})
}

// AbandonIntent implements store.Issuance.
func (s *Store) AbandonIntent(ctx context.Context, key store.CertificateKey, now time.Time, next *store.Intent, report *failure.Report) error {
	failed, err := form.End(report)
	if err != nil {
		return err
	}
	return update(ctx, s, "abandon intent", func(c *conn) error {
		intent, err := takeIntent(c, key)
		if err != nil {
			return err
		}
		if err := recordAbandoned(c, &intent, now); err != nil {
			return err
		}
		if next != nil {
			return storeIntent(c, next)
		}
		switch intent.Owner.Kind {
		case store.OwnerOrder:
			_, err = c.exec(updateOrderFailed, failed, intent.Owner.ID)
		case store.OwnerToken:
			err = freeToken(c, intent.Owner.ID)
		}
		return err
	})
}

// recordAbandoned puts an intent into the inventory, with what is known of it
// from its order, and makes its revocation lists stale.
func recordAbandoned(c *conn, intent *store.Intent, now time.Time) error {
	certificate := store.Abandoned(intent, now)
	if intent.Owner.Kind == store.OwnerOrder {
		order, err := oneOrder(c, intent.Owner.ID)
		if err != nil {
			return err
		}
		certificate.AccountID, certificate.Profile = order.AccountID, order.Profile
		certificate.Identifiers = order.Identifiers
	}
	if err := insertCertificate(c, &certificate); err != nil {
		return err
	}
	return markStale(c, certificate.IssuerID, certificate.Partition)
}
