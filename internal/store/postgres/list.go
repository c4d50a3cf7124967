package postgres

import (
	"context"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

// ListCertificates implements store.Certificates.
func (s *Store) ListCertificates(ctx context.Context, query store.CertificateQuery) ([]store.Certificate, error) {
	return read(ctx, s, "list certificates", func(c *conn) ([]store.Certificate, error) {
		l := &search{
			table: "certificates c", key: []string{"c.serial", "c.issuer_id"}, columns: certificateColumns,
			order: []string{"c.serial", "c.issuer_id"}, few: s.few, limit: form.PageSize(query.Limit),
		}
		time := form.Order(&query)
		if time != "" {
			l.order = append([]string{"c." + time}, l.order...)
		}
		askCertificates(l, &query, time)
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

// askCertificates puts the questions of a query. time is timeOf.
func askCertificates(l *search, query *store.CertificateQuery, time string) {
	askKeys(l, query)
	for _, q := range nameQuestions(query.Name, query.NamePattern, query.NamePart) {
		l.meet("c.service IN ("+q.sql+") AND c.service <> ''", q.args...)
	}
	askTimes(l, query, time)
	askKinds(l, query)
	switch query.Status {
	case "", store.CertificateAbandoned, store.CertificateRevoked: // askTimes has these
	case store.CertificateExpired:
		l.ask("NOT c.abandoned AND c.revoked = 0")
		l.meet("c.not_after < ?", query.Now)
	case store.CertificateGood:
		l.ask("NOT c.abandoned AND c.revoked = 0")
		l.meet("c.not_after >= ?", query.Now)
	default:
		l.ask("false") // there are no others
	}
}

// askKeys puts the questions that name something a few certificates have.
func askKeys(l *search, query *store.CertificateQuery) {
	if query.Serial != nil {
		l.meet("c.serial = ?", query.Serial[:])
	}
	if query.Fingerprint != nil {
		l.meet("c.fingerprint = ?", query.Fingerprint[:])
	}
	if query.KeyHash != nil {
		l.meet("c.key_hash = ? AND c.key_hash <> ''", query.KeyHash[:])
	}
	if r := query.Replaces; r != nil {
		l.meet("c.replaces_serial = ? AND c.replaces_issuer = ? AND c.replaces_issuer <> ''", r.Serial[:], r.IssuerID)
	}
	if query.ServiceID != "" {
		l.meet("c.service = ? AND c.service <> ''", form.ServiceKey(query.ServiceID))
	}
	if query.Subject != "" {
		l.meet("c.subject = ? AND c.subject <> ''", query.Subject)
	}
	if query.AccountID != "" {
		l.meet("c.account_id = ? AND c.account_id <> ''", query.AccountID)
	}
}

// askKinds puts the questions that many certificates meet.
func askKinds(l *search, query *store.CertificateQuery) {
	switch from, to := form.Requesters(query.Requester); {
	case to != "":
		l.meet("c.requester >= ? AND c.requester < ?", from, to)
	case from != "":
		l.meet("c.requester = ?", from)
	}
	if query.Profile != "" {
		l.meet("c.profile = ?", query.Profile)
	}
	if query.IssuerID != "" {
		l.meet("c.issuer_id = ?", query.IssuerID)
	}
}

// askTimes puts the questions about times.
func askTimes(l *search, query *store.CertificateQuery, time string) {
	if time == "revoked" {
		l.meet("c.revoked > 0 AND c.abandoned = ?", query.Status == store.CertificateAbandoned)
	}
	l.between("c.revoked > 0 AND c.revoked", query.RevokedAfter, query.RevokedBefore)
	l.between("c.not_after", query.ExpiresAfter, query.ExpiresBefore)
	l.between("c.issued", query.IssuedAfter, query.IssuedBefore)
}
