package postgres

import (
	"context"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

// ListCertificates implements store.Certificates.
func (s *Store) ListCertificates(ctx context.Context, query store.CertificateQuery) ([]store.Certificate, error) {
	return read(ctx, s, "list certificates", func(c *conn) ([]store.Certificate, error) {
		l := &search{
			table: "certificates c", columns: certificateColumns, order: []string{"c.serial", "c.issuer_id"},
			few: s.few, limit: form.PageSize(query.Limit),
		}
		time := form.Order(&query)
		if time != "" {
			l.order = append([]string{"c." + time}, l.order...)
		}
		if err := askCertificates(c, l, &query, time); err != nil {
			return nil, err
		}
		if err := continueAfter(c, l, query.Before, time); err != nil {
			return nil, err
		}
		return find(c, l, readCertificate)
	})
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
// met by few certificates first. time is form.Order.
func askCertificates(c *conn, l *search, query *store.CertificateQuery, time string) error {
	bySerial := time == ""
	askKeys(l, query, bySerial)
	questions, err := nameQuestions(c, l.few, query.Name, query.NamePattern, query.NamePart)
	for i := range questions {
		l.meetNames(&questions[i], "c.service")
		l.sets[len(l.sets)-1].sql += " AND c.service <> ''"
	}
	askTimes(l, query, time)
	askKinds(l, query, bySerial)
	switch query.Status {
	case "", store.CertificateAbandoned, store.CertificateRevoked: // askTimes has these
	case store.CertificateExpired:
		l.ask("NOT c.abandoned AND c.revoked = 0")
	case store.CertificateGood:
		l.meet(false, "c.not_after >= ?", query.Now)
		l.ask("NOT c.abandoned AND c.revoked = 0")
	default:
		l.ask("false") // there are no others
	}
	return err
}

// askKeys puts the questions that name something a few certificates have.
func askKeys(l *search, query *store.CertificateQuery, bySerial bool) {
	if query.Serial != nil {
		l.meet(bySerial, "c.serial = ?", query.Serial[:])
	}
	if query.Fingerprint != nil {
		l.meet(false, "c.fingerprint = ?", query.Fingerprint[:])
	}
	if query.KeyHash != nil {
		l.meet(bySerial, "c.key_hash = ? AND c.key_hash <> ''", query.KeyHash[:])
	}
	if r := query.Replaces; r != nil {
		l.meet(bySerial, "c.replaces_serial = ? AND c.replaces_issuer = ? AND c.replaces_issuer <> ''", r.Serial[:], r.IssuerID)
	}
	if query.ServiceID != "" {
		l.meet(bySerial, "c.service = ? AND c.service <> ''", form.ServiceKey(query.ServiceID))
	}
	if query.Subject != "" {
		l.meet(bySerial, "c.subject = ? AND c.subject <> ''", query.Subject)
	}
	if query.AccountID != "" {
		l.meet(bySerial, "c.account_id = ? AND c.account_id <> ''", query.AccountID)
	}
}

// askKinds puts the questions that many certificates meet.
func askKinds(l *search, query *store.CertificateQuery, bySerial bool) {
	switch from, to := form.Requesters(query.Requester); {
	case to != "":
		l.meet(false, "c.requester >= ? AND c.requester < ?", from, to)
	case from != "":
		l.meet(bySerial, "c.requester = ?", from)
	}
	if query.Profile != "" {
		l.meet(bySerial, "c.profile = ?", query.Profile)
	}
	if query.IssuerID != "" {
		l.meet(bySerial, "c.issuer_id = ?", query.IssuerID)
	}
}

// askTimes puts the questions about times. The one that orders the answer has
// an index that begins with what is asked.
func askTimes(l *search, query *store.CertificateQuery, time string) {
	if revoked := between("c.revoked", query.RevokedAfter, query.RevokedBefore); time == form.ByRevocation {
		revoked.sql += " AND c.abandoned = ? AND c.revoked > 0"
		l.meet(true, revoked.sql, append(revoked.args, query.Status == store.CertificateAbandoned)...)
	}
	expires := between("c.not_after", query.ExpiresAfter, query.ExpiresBefore)
	if query.Status == store.CertificateExpired {
		expires.sql += " AND c.not_after < ?"
		expires.args = append(expires.args, query.Now)
	}
	if len(expires.args) > 0 {
		l.meet(time == form.ByExpiry, expires.sql, expires.args...)
	}
	if issued := between("c.issued", query.IssuedAfter, query.IssuedBefore); len(issued.args) > 0 {
		l.meet(time == form.ByIssuance, issued.sql, issued.args...)
	}
}

// between is the condition that a time is at from or later and before to,
// where these are not zero.
func between(column string, from, to time.Time) clause {
	c := clause{sql: "true"}
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
