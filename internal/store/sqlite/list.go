package sqlite

import (
	"context"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

// ListCertificates implements store.Certificates.
func (s *Store) ListCertificates(ctx context.Context, query store.CertificateQuery) ([]store.Certificate, error) {
	return read(ctx, s, "list certificates", func(c *conn) ([]store.Certificate, error) {
		l, err := certificateListing(c, &query)
		if err != nil {
			return nil, err
		}
		return find(c, l, readCertificate)
	})
}

// certificateListing is a query as a search.
func certificateListing(c *conn, query *store.CertificateQuery) (*search, error) {
	l := &search{
		table: "certificates c", number: "c.rowid", columns: certificateColumns, limit: form.PageSize(query.Limit),
		order: []string{"c.serial", "c.issuer_id"}, key: "INDEXED BY sqlite_autoindex_certificates_1",
	}
	time := form.Order(query)
	if time != "" {
		l.order = append([]string{"c." + time}, l.order...)
	}
	if err := askCertificates(c, l, query, time); err != nil {
		return nil, err
	}
	return l, continueAfter(c, l, query.Before, time)
}

// continueAfter begins the page below the last certificate of the one before.
func continueAfter(c *conn, l *search, last *store.CertificateKey, time string) error {
	if last == nil {
		return nil
	}
	l.before = []any{last.Serial[:], last.IssuerID}
	if time == "" {
		return nil
	}
	certificate, err := oneCertificate(c, *last)
	l.before = append([]any{form.TimeIn(time, &certificate)}, l.before...)
	return err
}

// askCertificates puts the questions of a query, those that are most likely
// met by few certificates first. time is timeOf.
func askCertificates(c *conn, l *search, query *store.CertificateQuery, time string) error {
	bySerial := time == ""
	askKeys(l, query, bySerial)
	if err := askNames(c, l, query); err != nil {
		return err
	}
	askTimes(l, query, time)
	askKinds(l, query, bySerial)
	switch query.Status {
	case "", store.CertificateAbandoned, store.CertificateRevoked: // askTimes has these
	case store.CertificateExpired:
		l.ask("c.abandoned = 0 AND c.revoked = 0")
	case store.CertificateGood:
		l.meet("certificates_not_after", false, "c.not_after >= ?", query.Now)
		l.ask("c.abandoned = 0 AND c.revoked = 0")
	default:
		l.ask("0") // there are no others
	}
	return nil
}

// askKeys puts the questions that name something a few certificates have.
func askKeys(l *search, query *store.CertificateQuery, bySerial bool) {
	if query.Serial != nil {
		l.meet("", bySerial, "c.serial = ?", query.Serial[:])
	}
	if query.Fingerprint != nil {
		l.meet("certificates_fingerprint", false, "c.fingerprint = ?", query.Fingerprint[:])
	}
	if query.KeyHash != nil {
		l.meet("certificates_key", bySerial, "c.key_hash = ? AND c.key_hash <> x''", query.KeyHash[:])
	}
	if r := query.Replaces; r != nil {
		l.meet("certificates_replaces", bySerial, "c.replaces_serial = ? AND c.replaces_issuer = ? AND c.replaces_issuer <> ''", r.Serial[:], r.IssuerID)
	}
	if query.ServiceID != "" {
		l.meet("certificates_service", bySerial, "c.service = (SELECT number FROM services WHERE id = ?) AND c.service > 0", form.ServiceKey(query.ServiceID))
	}
	if query.Subject != "" {
		l.meet("certificates_subject", bySerial, "c.subject = ? AND c.subject <> ''", query.Subject)
	}
	if query.AccountID != "" {
		l.meet("certificates_account", bySerial, "c.account_id = ? AND c.account_id <> ''", query.AccountID)
	}
}

// askKinds puts the questions that many certificates meet.
func askKinds(l *search, query *store.CertificateQuery, bySerial bool) {
	switch from, to := form.Requesters(query.Requester); {
	case to != "":
		l.meet("certificates_requester", false, "c.requester >= ? AND c.requester < ?", from, to)
	case from != "":
		l.meet("certificates_requester", bySerial, "c.requester = ?", from)
	}
	if query.Profile != "" {
		l.meet("certificates_profile", bySerial, "c.profile = ?", query.Profile)
	}
	if query.IssuerID != "" {
		l.meet("certificates_issuer", bySerial, "c.issuer_id = ?", query.IssuerID)
	}
}

// askNames puts the questions about names: they select services, and so their
// certificates.
func askNames(c *conn, l *search, query *store.CertificateQuery) error {
	questions, err := nameQuestions(c, query.Name, query.NamePattern, query.NamePart)
	for _, q := range questions {
		l.meet("certificates_service", false, "c.service IN ("+q.services.sql+") AND c.service > 0", q.services.args...)
		l.sets[len(l.sets)-1].many = q.many
		l.filters[len(l.filters)-1] = clause{"EXISTS (SELECT 1 FROM services s WHERE s.number = c.service AND " + q.filter.sql + ")", q.filter.args}
	}
	return err
}

// askTimes puts the questions about times. The one that orders the answer has
// an index that begins with what is asked.
func askTimes(l *search, query *store.CertificateQuery, time string) {
	if revoked := between("c.revoked", query.RevokedAfter, query.RevokedBefore); time == "revoked" {
		revoked.sql += " AND c.abandoned = ? AND c.revoked > 0"
		l.meet("certificates_revoked", true, revoked.sql, append(revoked.args, query.Status == store.CertificateAbandoned)...)
	}
	expires := between("c.not_after", query.ExpiresAfter, query.ExpiresBefore)
	if query.Status == store.CertificateExpired {
		expires.sql += " AND c.not_after < ?"
		expires.args = append(expires.args, query.Now)
	}
	if len(expires.args) > 0 {
		l.meet("certificates_not_after", time == "not_after", expires.sql, expires.args...)
	}
	if issued := between("c.issued", query.IssuedAfter, query.IssuedBefore); len(issued.args) > 0 {
		l.meet("certificates_issued", time == "issued", issued.sql, issued.args...)
	}
}

// between is the condition that a time is at from or later and before to,
// where these are not zero.
func between(column string, from, to time.Time) clause {
	c := clause{sql: "1"}
	if !from.IsZero() {
		c.sql += " AND " + column + " >= ?"
		c.args = append(c.args, from)
	}
	if !to.IsZero() {
		c.sql += " AND " + column + " < ?"
		c.args = append(c.args, to)
	}
	return c
}
