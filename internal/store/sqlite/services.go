package sqlite

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	serviceColumns = "s.id, s.names, s.types, s.first, s.last, s.newest_issuer, s.newest_serial, s.valid_until, s.certificates"

	selectServiceNumber = "SELECT number FROM services WHERE id = ?"
	insertService       = "INSERT INTO services (id, names, types, first, last, newest_serial, newest_issuer, valid_until, certificates, records) " +
		"VALUES (?6, ?7, ?8, ?1, ?1, ?2, ?3, ?4, ?5, 1)"
	updateServiceJoined = "UPDATE services SET records = records + 1, " +
		"first = iif(?5 = 0, first, iif(certificates = 0, ?1, min(first, ?1))), " +
		"last = iif(" + isNewest + ", ?1, last), " +
		"newest_serial = iif(" + isNewest + ", ?2, newest_serial), " +
		"newest_issuer = iif(" + isNewest + ", ?3, newest_issuer), " +
		"valid_until = max(valid_until, ?4), certificates = certificates + ?5 WHERE number = ?6"
	isNewest = "(?2, ?3) > (newest_serial, newest_issuer)"

	selectServicePlace = "SELECT valid_until, number FROM services WHERE id = ?"
	selectService      = "SELECT " + serviceColumns + " FROM services s WHERE s.id = ? AND s.certificates > 0"

	updateServiceLeft = "UPDATE services SET records = records - 1, certificates = certificates - ? WHERE number = ? RETURNING records"
	// What a service says after some of its certificates are gone.
	updateServiceNewest = "UPDATE services SET valid_until = " + latestUnrevoked + ", (newest_serial, newest_issuer, last) = " +
		"(SELECT coalesce(max(serial), x''), coalesce(issuer_id, ''), coalesce(issued, 0) FROM (SELECT serial, issuer_id, issued " +
		"FROM certificates INDEXED BY certificates_service WHERE service = number AND service > 0 AND abandoned = 0 " +
		"ORDER BY serial DESC LIMIT 1)) WHERE number = ?"
	deleteService = "DELETE FROM services WHERE number = ? RETURNING names"
)

func readService(r *row) store.Service {
	s := store.Service{ID: hex.EncodeToString(r.blob()), Identifiers: form.Identifiers(r.text(), r.text()), First: r.time(), Last: r.time()}
	s.Newest.IssuerID = r.text()
	r.fixed(s.Newest.Serial[:])
	s.ValidUntil, s.Certificates = r.time(), r.int()
	return s
}

// joinService enters a certificate that is about to be stored into the service
// of its names and returns that service's number: 0 when it has none.
func joinService(c *conn, certificate *store.Certificate) (number int64, err error) {
	if len(certificate.Identifiers) == 0 {
		return 0, nil
	}
	ids := identifier.Normalize(slices.Clone(certificate.Identifiers))
	key := form.ServiceKey(store.ServiceID(ids))
	says := []any{certificate.Issued, certificate.Serial[:], certificate.IssuerID, validUntil(certificate), 1}
	if certificate.Abandoned {
		says = []any{0, []byte(nil), "", 0, 0}
	}
	err = c.one(func(r *row) { number = r.int64() }, selectServiceNumber, key)
	switch {
	case err == nil:
		_, err = c.exec(updateServiceJoined, append(says, number)...)
		return number, err
	case !errors.Is(err, store.ErrNotFound):
		return 0, err
	}
	names, types := form.Lines(ids)
	if _, err := c.exec(insertService, append(says, key, names, types)...); err != nil {
		return 0, err
	}
	number = c.LastInsertRowID()
	return number, enterNames(c, number, ids)
}

// validUntil is until when a certificate keeps its service healthy.
func validUntil(certificate *store.Certificate) time.Time {
	if certificate.Revocation != nil {
		return time.Time{}
	}
	return certificate.NotAfter
}

// leaveService takes a certificate that was removed out of its service. The
// service goes with its last.
func leaveService(c *conn, certificate *store.Certificate, number int64) error {
	if number == 0 {
		return nil
	}
	records, counted := 0, !certificate.Abandoned
	if err := c.one(func(r *row) { records = r.int() }, updateServiceLeft, counted, number); err != nil {
		return err
	}
	if records > 0 {
		_, err := c.exec(updateServiceNewest, number)
		return err
	}
	names := ""
	if err := c.one(func(r *row) { names = r.text() }, deleteService, number); err != nil {
		return err
	}
	return removeNames(c, number, names)
}

// Service implements store.Services.
func (s *Store) Service(ctx context.Context, id string) (store.Service, error) {
	return read(ctx, s, "read service", func(c *conn) (service store.Service, err error) {
		err = c.one(func(r *row) { service = readService(r) }, selectService, form.ServiceKey(id))
		return service, err
	})
}

// ListServices implements store.Services.
func (s *Store) ListServices(ctx context.Context, query store.ServiceQuery) ([]store.Service, error) {
	return read(ctx, s, "list services", func(c *conn) ([]store.Service, error) {
		l := &search{table: "services s", number: "s.number", columns: serviceColumns, order: []string{"s.number"}, key: "NOT INDEXED", limit: form.PageSize(query.Limit)}
		byEnd := query.Health == store.ServiceUnhealthy || !query.ExpiresBefore.IsZero()
		if byEnd {
			l.order = []string{"s.valid_until", "s.number"}
		}
		if err := askServices(c, l, &query, byEnd); err != nil {
			return nil, err
		}
		if query.Before != "" {
			err := c.one(func(r *row) { l.before = []any{r.int64(), r.int64()} }, selectServicePlace, form.ServiceKey(query.Before))
			if err != nil {
				return nil, err
			}
			l.before = l.before[len(l.before)-len(l.order):]
		}
		return find(c, l, readService)
	})
}

// askServices puts the questions of a query, those that are most likely met by
// few services first. byEnd is whether the answer is ordered by valid_until.
func askServices(c *conn, l *search, query *store.ServiceQuery, byEnd bool) error {
	l.ask("s.certificates > 0")
	if query.ID != "" {
		l.meet("sqlite_autoindex_services_1", false, "s.id = ?", form.ServiceKey(query.ID))
	}
	questions, err := nameQuestions(c, query.Name, query.NamePattern, query.NamePart)
	for _, q := range questions {
		l.meet("", false, "s.number IN ("+q.services.sql+")", q.services.args...)
		l.sets[len(l.sets)-1].many = q.many
		l.filters[len(l.filters)-1] = q.filter
	}
	ends := between("s.valid_until", time.Time{}, query.ExpiresBefore)
	switch query.Health {
	case "":
	case store.ServiceHealthy:
		ends.sql += " AND s.valid_until >= ?"
		ends.args = append(ends.args, query.Now)
	case store.ServiceUnhealthy:
		ends.sql += " AND s.valid_until < ?"
		ends.args = append(ends.args, query.Now)
	default:
		l.ask("0") // there are no others
	}
	if len(ends.args) > 0 {
		l.meet("services_valid_until", byEnd, ends.sql+" AND s.certificates > 0", ends.args...)
	}
	return err
}
