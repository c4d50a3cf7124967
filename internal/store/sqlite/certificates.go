package sqlite

import (
	"context"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	certificateColumns = "c.serial, c.issuer_id, c.owner_kind, c.owner_id, c.account_id, c.requester, c.profile, c.rule, " +
		"c.fingerprint, c.not_before, c.not_after, c.issued, c.abandoned, c.revoked, c.reason, c.identifiers, c.der, " +
		"c.subject, c.key_hash, c.partition, c.replaces_issuer, c.replaces_serial"

	insertCertificateRow = "INSERT INTO certificates (serial, issuer_id, owner_kind, owner_id, account_id, requester, profile, rule, " +
		"fingerprint, not_before, not_after, issued, abandoned, revoked, reason, identifiers, der, " +
		"subject, key_hash, partition, replaces_issuer, replaces_serial, service) " +
		"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

	selectCertificate = "SELECT " + certificateColumns + " FROM certificates c WHERE serial = ? AND issuer_id = ?"
	selectReplacedBy  = "SELECT issuer_id, serial FROM certificates INDEXED BY certificates_replaces " +
		"WHERE replaces_serial = ? AND replaces_issuer = ? AND replaces_issuer <> '' ORDER BY serial DESC LIMIT 1"

	upsertIssuer = "INSERT INTO issuers (id, subject_key_id, chain, alternates) VALUES (?, ?, ?, ?) " +
		"ON CONFLICT (id) DO UPDATE SET subject_key_id = excluded.subject_key_id, chain = excluded.chain, alternates = excluded.alternates"
	selectIssuers = "SELECT id, subject_key_id, chain, alternates FROM issuers ORDER BY id"
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
	c.Subject = r.text()
	r.fixedOrNone(c.KeyHash[:])
	c.Partition = r.int64()
	if issuer := r.text(); issuer != "" {
		c.Replaces = &store.CertificateKey{IssuerID: issuer}
		r.fixed(c.Replaces.Serial[:])
	}
	return c
}

func oneCertificate(c *conn, key store.CertificateKey) (certificate store.Certificate, err error) {
	err = c.one(func(r *row) { certificate = readCertificate(r) }, selectCertificate, key.Serial[:], key.IssuerID)
	return certificate, err
}

// insertCertificate stores a certificate, enters it into its service and
// counts it.
func insertCertificate(c *conn, certificate *store.Certificate) error {
	identifiers, err := form.List(certificate.Identifiers)
	if err != nil {
		return err
	}
	service, err := joinService(c, certificate)
	if err != nil {
		return err
	}
	var revocation store.Revocation
	if certificate.Revocation != nil {
		revocation = *certificate.Revocation
	}
	replacesIssuer, replacesSerial := form.Key(certificate.Replaces)
	_, err = c.exec(insertCertificateRow, certificate.Serial[:], certificate.IssuerID, string(certificate.Owner.Kind),
		certificate.Owner.ID, certificate.AccountID, certificate.Requester, certificate.Profile, certificate.Rule,
		certificate.Fingerprint[:], certificate.NotBefore, certificate.NotAfter, certificate.Issued, certificate.Abandoned,
		revocation.At, revocation.Reason, identifiers, certificate.DER,
		certificate.Subject, form.Hash(certificate.KeyHash), certificate.Partition, replacesIssuer, replacesSerial, service)
	if err != nil {
		return err
	}
	keepCertificate(c, *certificate)
	return countCertificate(c, certificate, 1)
}

// keepCertificate is for a certificate that was just written.
func keepCertificate(c *conn, certificate store.Certificate) {
	round(&certificate.NotBefore, &certificate.NotAfter, &certificate.Issued)
	if r := certificate.Revocation; r != nil {
		revocation := *r
		round(&revocation.At)
		certificate.Revocation = &revocation
	}
	c.recent.keep(nameOf(certificate.CertificateKey), certificate)
}

// RegisterIssuer implements store.Certificates. A later chain of the same key
// takes the place of the earlier.
func (s *Store) RegisterIssuer(ctx context.Context, issuer store.Issuer) error {
	chain, err := form.List(issuer.Chain)
	if err != nil {
		return err
	}
	alternates, err := form.List(issuer.Alternates)
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

// Certificate implements store.Certificates.
func (s *Store) Certificate(ctx context.Context, key store.CertificateKey) (store.Certificate, error) {
	if certificate, ok := s.recent.certificate(key); ok {
		return certificate, nil
	}
	return read(ctx, s, "read certificate", func(c *conn) (store.Certificate, error) { return oneCertificate(c, key) })
}

// ReplacedBy implements store.Certificates.
func (s *Store) ReplacedBy(ctx context.Context, key store.CertificateKey) (store.CertificateKey, error) {
	return read(ctx, s, "look for what replaced a certificate", func(c *conn) (by store.CertificateKey, err error) {
		err = c.one(func(r *row) {
			by.IssuerID = r.text()
			r.fixed(by.Serial[:])
		}, selectReplacedBy, key.Serial[:], key.IssuerID)
		return by, err
	})
}

// Replacement implements store.Certificates.
func (s *Store) Replacement(ctx context.Context, key store.CertificateKey, now time.Time) (string, error) {
	order, err := read(ctx, s, "look for a replacement", func(c *conn) (store.Order, error) {
		return replacement(c, key, now)
	})
	return order.ID, err
}
