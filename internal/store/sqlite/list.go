package sqlite

import (
	"context"
	"strings"
	"time"

	"chancery/internal/store"
)

// ListCertificates implements store.Certificates.
func (s *Store) ListCertificates(ctx context.Context, query store.CertificateQuery) ([]store.Certificate, error) {
	q := listing(&query)
	return read(ctx, s, "list certificates", func(c *conn) (list []store.Certificate, err error) {
		err = c.once(func(r *row) { list = append(list, readCertificate(r)) }, q.sql(), q.args...)
		return list, err
	})
}

// selection is a SELECT of certificates that grows by conditions. It names the
// index to walk: left to itself, SQLite takes the order's where another finds
// far fewer rows.
type selection struct {
	from       string
	key        string // the table that the order and the cursor are taken from
	conditions []string
	args       []any
}

func (q *selection) where(condition string, args ...any) {
	q.conditions = append(q.conditions, condition)
	q.args = append(q.args, args...)
}

func (q *selection) sql() string {
	where := ""
	if len(q.conditions) > 0 {
		where = " WHERE " + strings.Join(q.conditions, " AND ")
	}
	return "SELECT " + certificateColumns + " FROM " + q.from + where +
		" ORDER BY " + q.key + ".serial DESC, " + q.key + ".issuer_id DESC LIMIT ?"
}

func listing(query *store.CertificateQuery) *selection {
	q := &selection{from: "certificates c", key: "c"}
	q.walk(query)
	if query.Serial != nil {
		q.where("c.serial = ?", query.Serial[:])
	}
	if query.Fingerprint != nil {
		q.where("c.fingerprint = ?", query.Fingerprint[:])
	}
	if query.AccountID != "" {
		q.where("c.account_id = ? AND c.account_id <> ''", query.AccountID)
	}
	if query.Profile != "" {
		q.where("c.profile = ?", query.Profile)
	}
	if !query.ExpiresBefore.IsZero() {
		q.where("c.not_after < ?", query.ExpiresBefore)
	}
	q.status(query.Status, query.Now)
	if query.Before != nil {
		q.where("("+q.key+".serial, "+q.key+".issuer_id) < (?, ?)", query.Before.Serial[:], query.Before.IssuerID)
	}
	q.args = append(q.args, pageSize(query.Limit))
	return q
}

// walk chooses where to begin: with what leaves the fewest rows.
func (q *selection) walk(query *store.CertificateQuery) {
	index := ""
	switch {
	case query.Serial != nil: // the key finds it
	case query.Fingerprint != nil:
		index = "fingerprint"
	case query.Name != "":
		q.from = "certificate_names n CROSS JOIN certificates c ON c.serial = n.serial AND c.issuer_id = n.issuer_id"
		q.key = "n"
		q.where("n.value = ?", query.Name)
		return
	case query.AccountID != "":
		index = "account"
	case query.Status == store.CertificateRevoked, query.Status == store.CertificateAbandoned:
		index = "revoked"
	case query.Status == store.CertificateExpired, !query.ExpiresBefore.IsZero():
		index = "not_after"
	case query.Profile != "":
		index = "profile"
	}
	if index != "" {
		q.from += " INDEXED BY certificates_" + index
	}
	if query.Name != "" {
		q.where("EXISTS (SELECT 1 FROM certificate_names n WHERE n.value = ? AND n.serial = c.serial AND n.issuer_id = c.issuer_id)", query.Name)
	}
}

// status is store.Certificate.Status as conditions.
func (q *selection) status(status store.CertificateStatus, now time.Time) {
	switch status {
	case "":
	case store.CertificateAbandoned:
		q.where("c.abandoned = 1 AND c.revoked > 0")
	case store.CertificateRevoked:
		q.where("c.abandoned = 0 AND c.revoked > 0")
	case store.CertificateExpired:
		q.where("c.abandoned = 0 AND c.revoked = 0 AND c.not_after < ?", now)
	case store.CertificateGood:
		q.where("c.abandoned = 0 AND c.revoked = 0 AND c.not_after >= ?", now)
	default:
		q.where("0") // there are no others
	}
}
