package postgres

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
	intentValues  = "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11"

	insertIntent = "INSERT INTO intents (" + intentColumns + ") VALUES (" + intentValues + ")"
	// The order must be ready at $8: not ended, each of its authorizations
	// valid, and its account, too.
	insertIntentOfOrder = "WITH claimed AS (UPDATE orders SET finalized = $8 WHERE id = $4 AND finalized = 0 AND certificate_issuer = '' " +
		"AND failure = '' AND expires > $8 AND EXISTS (SELECT 1 FROM accounts WHERE accounts.id = account_id AND status = 'valid') " +
		"AND (SELECT count(*) FROM authorizations a WHERE a.id = ANY (string_to_array(authorization_ids, ' ')) AND a.state = 'valid' AND a.expires > $8) " +
		"= cardinality(string_to_array(authorization_ids, ' ')) RETURNING id) " +
		"INSERT INTO intents (" + intentColumns + ") SELECT " + intentValues + " FROM claimed"
	insertIntentOfToken = "WITH spent AS (INSERT INTO spent_tokens (id, expires) VALUES ($4, $5) ON CONFLICT DO NOTHING RETURNING id) " +
		"INSERT INTO intents (" + intentColumns + ") SELECT " + intentValues + " FROM spent"

	selectIntent  = "SELECT " + intentColumns + " FROM intents WHERE serial = $1 AND issuer_id = $2"
	selectIntents = "SELECT " + intentColumns + " FROM intents WHERE deadline < $1 ORDER BY created, serial LIMIT $2"
	deleteIntent  = "DELETE FROM intents WHERE serial = $1 AND issuer_id = $2 RETURNING " + intentColumns

	updateOrderFailed = "UPDATE orders SET failure = $1 WHERE id = $2"
	deleteSpent       = "DELETE FROM spent_tokens WHERE id = $1"
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

func intentInsert(sql string, i *store.Intent) *query {
	return do(sql, i.Serial[:], i.IssuerID, string(i.Owner.Kind), i.Owner.ID, i.OwnerExpires, i.Partition,
		i.Attempt, i.Created, i.Deadline, i.TBS, i.Request)
}

// BeginIssuance implements store.Issuance: the claim and the intent are one
// statement.
func (s *Store) BeginIssuance(ctx context.Context, intent store.Intent) error {
	sql := insertIntent
	switch intent.Owner.Kind {
	case store.OwnerOrder:
		sql = insertIntentOfOrder
	case store.OwnerToken:
		sql = insertIntentOfToken
	}
	return update(ctx, s, "begin issuance", func(c *conn) error {
		if c.again {
			err := c.one(nil, selectIntent, intent.Serial[:], intent.IssuerID)
			if !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		q := intentInsert(sql, &intent)
		if err := c.last(q); err != nil || q.changed > 0 {
			return err
		}
		if intent.Owner.Kind == store.OwnerToken {
			return store.ErrUsed
		}
		return notReady(c, intent.Owner.ID, intent.Created)
	})
}

// notReady says why an order could not be claimed.
func notReady(c *conn, id string, now time.Time) error {
	order, err := oneOrder(c, id)
	if err != nil {
		return err
	}
	switch order.Status(now) {
	case store.OrderProcessing, store.OrderValid:
		return store.ErrClaimed
	default:
		return store.ErrNotReady
	}
}

// CompleteIssuance implements store.Issuance. The certificate's owner is the
// one its intent claimed, and its partition the one its intent was given.
func (s *Store) CompleteIssuance(ctx context.Context, certificate store.Certificate) error {
	err := update(ctx, s, "complete issuance", func(c *conn) error {
		queries, err := completion(&certificate)
		if err != nil {
			return err
		}
		if err := c.last(queries...); err != nil || queries[0].changed > 0 {
			return err
		}
		return checkCompleted(c, certificate.CertificateKey)
	})
	if err == nil {
		s.upkeep.note()
	}
	return err
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
		var intent store.Intent
		err := c.one(func(r *row) { intent = readIntent(r) }, deleteIntent, key.Serial[:], key.IssuerID)
		if c.again && errors.Is(err, store.ErrNotFound) {
			return checkAbandoned(c, key, now)
		}
		if err != nil {
			return err
		}
		queries, err := abandonment(c, &intent, now)
		if err != nil {
			return err
		}
		switch {
		case next != nil:
			queries = append(queries, intentInsert(insertIntent, next))
		case intent.Owner.Kind == store.OwnerOrder:
			queries = append(queries, do(updateOrderFailed, failed, intent.Owner.ID))
		case intent.Owner.Kind == store.OwnerToken:
			queries = append(queries, do(deleteSpent, intent.Owner.ID))
		}
		return c.last(append(queries, changes(store.KindRevocations))...)
	})
}

// checkAbandoned is for an intent that is settled: nil when that was by this
// step.
func checkAbandoned(c *conn, key store.CertificateKey, now time.Time) error {
	certificate, err := oneCertificate(c, key)
	if err == nil && (!certificate.Abandoned || form.Millis(certificate.Revocation.At) != form.Millis(now)) {
		err = store.ErrNotFound
	}
	return err
}

// abandonment puts an intent into the inventory, with what is known of it from
// its order, and makes its revocation lists stale.
func abandonment(c *conn, intent *store.Intent, now time.Time) ([]*query, error) {
	certificate := store.Abandoned(intent, now)
	if intent.Owner.Kind == store.OwnerOrder {
		order, err := oneOrder(c, intent.Owner.ID)
		if err != nil {
			return nil, err
		}
		certificate.AccountID, certificate.Profile = order.AccountID, order.Profile
		certificate.Identifiers = order.Identifiers
	}
	queries, err := entry(insertCertificate, &certificate)
	return append(queries, markStale(certificate.IssuerID, certificate.Partition)...), err
}
