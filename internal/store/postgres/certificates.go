package postgres

import (
	"context"
	"slices"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	certificateColumns = "c.serial, c.issuer_id, c.owner_kind, c.owner_id, c.account_id, c.requester, c.profile, c.rule, " +
		"c.fingerprint, c.not_before, c.not_after, c.issued, c.abandoned, c.revoked, c.reason, c.identifiers, c.der, " +
		"c.subject, c.key_hash, c.partition, c.replaces_issuer, c.replaces_serial"
	certificateFields = "serial, issuer_id, owner_kind, owner_id, partition, account_id, requester, profile, rule, " +
		"fingerprint, not_before, not_after, issued, abandoned, revoked, reason, identifiers, der, " +
		"subject, key_hash, replaces_issuer, replaces_serial, service"
	certificateValues = "$6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23"

	// A certificate and what follows for the counts.
	insertCertificate = "WITH entered AS (INSERT INTO certificates (" + certificateFields + ") VALUES ($1, $2, $3, $4, $5, " + certificateValues + ") " +
		enteredFields + ", joined AS (" + upsertService + ") " + countEntered
	// The same in place of its intent, which knows owner and partition. $3 to
	// $5 are not used, but have their types.
	insertCertificateIssued = "WITH intent AS (DELETE FROM intents WHERE serial = $1 AND issuer_id = $2 RETURNING owner_kind, owner_id, partition), " +
		"issued AS (UPDATE orders SET certificate_serial = $1, certificate_issuer = $2 FROM intent WHERE orders.id = intent.owner_id AND intent.owner_kind = 'order'), " +
		"entered AS (INSERT INTO certificates (" + certificateFields + ") SELECT $1, $2, " +
		"coalesce(owner_kind, $3), coalesce(owner_id, $4), coalesce(partition, $5), " + certificateValues + " FROM intent " +
		enteredFields + ", joined AS (" + upsertService + ") " + countEntered
	enteredFields = "RETURNING serial, issuer_id, profile, not_after, issued, abandoned, revoked, service)"
	countEntered  = "INSERT INTO certificate_changes (not_after, issuer_id, profile, good, revoked, abandoned) " +
		"SELECT not_after, issuer_id, profile, CASE WHEN abandoned THEN 0 ELSE 1 END, 0, CASE WHEN abandoned THEN 1 ELSE 0 END FROM entered"

	selectCertificate = "SELECT " + certificateColumns + " FROM certificates c WHERE serial = $1 AND issuer_id = $2"
	selectReplacedBy  = "SELECT issuer_id, serial FROM certificates " +
		"WHERE replaces_serial = $1 AND replaces_issuer = $2 AND replaces_issuer <> '' ORDER BY serial DESC LIMIT 1"

	upsertIssuer = changing + "INSERT INTO issuers (id, subject_key_id, chain, alternates) VALUES ($1, $2, $3, $4) " +
		"ON CONFLICT (id) DO UPDATE SET subject_key_id = excluded.subject_key_id, chain = excluded.chain, alternates = excluded.alternates " +
		"WHERE (issuers.subject_key_id, issuers.chain, issuers.alternates) <> (excluded.subject_key_id, excluded.chain, excluded.alternates) " +
		"RETURNING id" + notingIssuers + "SELECT id FROM changed"
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
	c.Replaces = readKey(r)
	return c
}

func oneCertificate(c *conn, key store.CertificateKey) (certificate store.Certificate, err error) {
	err = c.one(func(r *row) { certificate = readCertificate(r) }, selectCertificate, key.Serial[:], key.IssuerID)
	return certificate, err
}

// completion turns an intent into its certificate. All follows from the first
// statement: where that changes nothing, the others don't.
func completion(certificate *store.Certificate) ([]*query, error) {
	queries, err := entry(insertCertificateIssued, certificate)
	key := certificate.CertificateKey
	return append(queries, do(updatePartitionsResumed, key.Serial[:], key.IssuerID)), err
}

// entry stores a certificate, counts it, and enters it into its service.
func entry(sql string, certificate *store.Certificate) ([]*query, error) {
	identifiers, err := form.List(certificate.Identifiers)
	if err != nil {
		return nil, err
	}
	var revocation store.Revocation
	if certificate.Revocation != nil {
		revocation = *certificate.Revocation
	}
	replacesIssuer, replacesSerial := form.Key(certificate.Replaces)
	ids := identifier.Normalize(slices.Clone(certificate.Identifiers))
	names, types := form.Lines(ids)
	queries := []*query{do(sql, certificate.Serial[:], certificate.IssuerID, string(certificate.Owner.Kind), certificate.Owner.ID,
		certificate.Partition, certificate.AccountID, certificate.Requester, certificate.Profile, certificate.Rule,
		certificate.Fingerprint[:], certificate.NotBefore, certificate.NotAfter, certificate.Issued, certificate.Abandoned,
		revocation.At, revocation.Reason, identifiers, certificate.DER, certificate.Subject, form.Hash(certificate.KeyHash),
		replacesIssuer, replacesSerial, form.ServiceKey(store.ServiceID(ids)), names, types)}
	service := form.ServiceKey(store.ServiceID(ids))
	for _, id := range ids {
		domain, label := form.Place(id.Value)
		queries = append(queries, do(insertServiceName, domain, label, service))
	}
	return queries, nil
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
		return c.last(do(upsertIssuer, issuer.ID, issuer.SubjectKeyID, chain, alternates))
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
		var found orders
		if err := c.each(found.add, selectOrdersByReplaces, key.Serial[:], key.IssuerID); err != nil {
			return store.Order{}, err
		}
		return replacing(&found, now)
	})
	return order.ID, err
}
