package sqlite

import (
	"context"
	"time"

	"chancery/internal/store"
)

const (
	certificateColumns = "c.serial, c.issuer_id, c.owner_kind, c.owner_id, c.account_id, c.requester, c.profile, c.rule, " +
		"c.fingerprint, c.not_before, c.not_after, c.issued, c.abandoned, c.revoked, c.reason, c.identifiers, c.der"

	insertCertificateRow = "INSERT INTO certificates (serial, issuer_id, owner_kind, owner_id, account_id, requester, profile, rule, " +
		"fingerprint, not_before, not_after, issued, abandoned, revoked, reason, identifiers, der) " +
		"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	insertCertificateName = "INSERT INTO certificate_names (value, serial, issuer_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"

	selectCertificate        = "SELECT " + certificateColumns + " FROM certificates c WHERE serial = ? AND issuer_id = ?"
	updateCertificateRevoked = "UPDATE certificates SET revoked = ?, reason = ? WHERE serial = ? AND issuer_id = ? AND revoked = 0"

	upsertIssuer = "INSERT INTO issuers (id, subject_key_id, chain, alternates) VALUES (?, ?, ?, ?) " +
		"ON CONFLICT (id) DO UPDATE SET subject_key_id = excluded.subject_key_id, chain = excluded.chain, alternates = excluded.alternates"
	selectIssuers   = "SELECT id, subject_key_id, chain, alternates FROM issuers ORDER BY id"
	selectUnexpired = "SELECT count(*), coalesce(max(not_after), 0) FROM certificates WHERE not_after > ? AND issuer_id = ?"
)

func readCertificate(r *row) store.Certificate {
	var c store.Certificate
	r.fixed(c.Serial[:])
	c.IssuerID = r.text()
	c.Owner = store.Owner{Kind: store.OwnerKind(r.text()), ID: r.text()}
	c.AccountID, c.Requester, c.Profile, c.Rule = r.text(), r.text(), r.text(), r.text()
	r.fixed(c.Fingerprint[:])
	c.NotBefore, c.NotAfter, c.Issued = r.time(), r.time(), r.time()
	c.Abandoned = r.bool()
	if at, reason := r.time(), r.int(); !at.IsZero() {
		c.Revocation = &store.Revocation{At: at, Reason: reason}
	}
	r.json(&c.Identifiers)
	c.DER = r.blob()
	return c
}

func oneCertificate(c *conn, key store.CertificateKey) (certificate store.Certificate, err error) {
	err = c.one(func(r *row) { certificate = readCertificate(r) }, selectCertificate, key.Serial[:], key.IssuerID)
	return certificate, err
}

// insertCertificate stores a certificate and its names.
func insertCertificate(c *conn, certificate *store.Certificate) error {
	identifiers, err := encodeList(certificate.Identifiers)
	if err != nil {
		return err
	}
	var revocation store.Revocation
	if certificate.Revocation != nil {
		revocation = *certificate.Revocation
	}
	_, err = c.exec(insertCertificateRow, certificate.Serial[:], certificate.IssuerID, string(certificate.Owner.Kind),
		certificate.Owner.ID, certificate.AccountID, certificate.Requester, certificate.Profile, certificate.Rule,
		certificate.Fingerprint[:], certificate.NotBefore, certificate.NotAfter, certificate.Issued, certificate.Abandoned,
		revocation.At, revocation.Reason, identifiers, certificate.DER)
	if err != nil {
		return err
	}
	for _, name := range certificate.Identifiers {
		if _, err := c.exec(insertCertificateName, name.Value, certificate.Serial[:], certificate.IssuerID); err != nil {
			return err
		}
	}
	return nil
}

// RegisterIssuer implements store.Certificates. A later chain of the same key
// takes the place of the earlier.
func (s *Store) RegisterIssuer(ctx context.Context, issuer store.Issuer) error {
	chain, err := encodeList(issuer.Chain)
	if err != nil {
		return err
	}
	alternates, err := encodeList(issuer.Alternates)
	if err != nil {
		return err
	}
	return update(ctx, s, "register issuer", func(c *conn) error {
		_, err := c.exec(upsertIssuer, issuer.ID, issuer.SubjectKeyID, chain, alternates)
		return err
	})
}

// Issuers implements store.Certificates.
func (s *Store) Issuers(ctx context.Context) ([]store.Issuer, error) {
	return read(ctx, s, "list issuers", func(c *conn) (list []store.Issuer, err error) {
		err = c.each(func(r *row) {
			issuer := store.Issuer{ID: r.text(), SubjectKeyID: r.blob()}
			r.json(&issuer.Chain)
			r.json(&issuer.Alternates)
			list = append(list, issuer)
		}, selectIssuers)
		return list, err
	})
}

// Unexpired implements store.Certificates.
func (s *Store) Unexpired(ctx context.Context, issuerID string, now time.Time) (count int, last time.Time, err error) {
	count, err = read(ctx, s, "count certificates", func(c *conn) (count int, err error) {
		err = c.once(func(r *row) { count, last = r.int(), r.time() }, selectUnexpired, now, issuerID)
		return count, err
	})
	return count, last, err
}

// Certificate implements store.Certificates.
func (s *Store) Certificate(ctx context.Context, key store.CertificateKey) (store.Certificate, error) {
	return read(ctx, s, "read certificate", func(c *conn) (store.Certificate, error) { return oneCertificate(c, key) })
}

// Revoke implements store.Certificates.
func (s *Store) Revoke(ctx context.Context, key store.CertificateKey, revocation store.Revocation) error {
	return update(ctx, s, "revoke certificate", func(c *conn) error {
		changed, err := c.exec(updateCertificateRevoked, revocation.At, revocation.Reason, key.Serial[:], key.IssuerID)
		if err != nil || changed > 0 {
			return err
		}
		if _, err := oneCertificate(c, key); err != nil {
			return err
		}
		return store.ErrRevoked
	})
}

// Replacement implements store.Certificates.
func (s *Store) Replacement(ctx context.Context, key store.CertificateKey, now time.Time) (string, error) {
	order, err := read(ctx, s, "look for a replacement", func(c *conn) (store.Order, error) {
		return replacement(c, key, now)
	})
	return order.ID, err
}
