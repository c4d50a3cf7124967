package postgres

import (
	"context"
	"encoding/hex"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	serviceColumns = "s.id, s.names, s.types, s.first, s.last, s.newest_issuer, s.newest_serial, s.valid_until, s.certificates"

	// Enters the certificate that the statement before it in the same WITH has
	// stored, with the names $24 of the types $25. An abandoned certificate comes
	// without any of what is compared here.
	upsertService = "INSERT INTO services (id, names, types, first, last, newest_serial, newest_issuer, valid_until, certificates, records, searchable) " +
		"SELECT service, $24, $25, CASE WHEN abandoned THEN 0 ELSE issued END, CASE WHEN abandoned THEN 0 ELSE issued END, " +
		"CASE WHEN abandoned THEN '' ELSE serial END, CASE WHEN abandoned THEN '' ELSE issuer_id END, " +
		"CASE WHEN revoked > 0 THEN 0 ELSE not_after END, CASE WHEN abandoned THEN 0 ELSE 1 END, 1, false " +
		"FROM entered WHERE service <> '' ON CONFLICT (id) DO UPDATE SET records = services.records + 1, " +
		"first = CASE WHEN excluded.certificates = 0 THEN services.first WHEN services.certificates = 0 THEN excluded.first ELSE least(services.first, excluded.first) END, " +
		"last = CASE WHEN " + isNewest + " THEN excluded.last ELSE services.last END, " +
		"newest_serial = CASE WHEN " + isNewest + " THEN excluded.newest_serial ELSE services.newest_serial END, " +
		"newest_issuer = CASE WHEN " + isNewest + " THEN excluded.newest_issuer ELSE services.newest_issuer END, " +
		"valid_until = greatest(services.valid_until, excluded.valid_until), " +
		"certificates = services.certificates + excluded.certificates"
	isNewest = "(excluded.newest_serial, excluded.newest_issuer) > (services.newest_serial, services.newest_issuer)"

	selectServicePlace = "SELECT valid_until, number FROM services WHERE id = $1"
	selectService      = "SELECT " + serviceColumns + " FROM services s WHERE s.id = $1 AND s.certificates > 0"

	updateServiceLeft = "UPDATE services SET records = records - $2, certificates = certificates - $3 WHERE id = $1"
	// What a service says after some of its certificates are gone. The
	// certificate that is newest is read three times: portable SQL has no other way.
	updateServiceNewest = "UPDATE services SET valid_until = " + latestUnrevoked + ", " +
		"newest_serial = coalesce((SELECT serial " + newestOfService + "), ''::bytea), " +
		"newest_issuer = coalesce((SELECT issuer_id " + newestOfService + "), ''), " +
		"last = coalesce((SELECT issued " + newestOfService + "), 0) WHERE id = $1 AND records > 0"
	newestOfService = "FROM certificates WHERE service = services.id AND service <> '' AND NOT abandoned ORDER BY serial DESC, issuer_id DESC LIMIT 1"
)

func readService(r *row) store.Service {
	s := store.Service{ID: hex.EncodeToString(r.blob()), Identifiers: form.Identifiers(r.text(), r.text()), First: r.time(), Last: r.time()}
	s.Newest.IssuerID = r.text()
	r.fixed(s.Newest.Serial[:])
	s.ValidUntil, s.Certificates = r.time(), r.int()
	return s
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
		l := &search{table: "services s", columns: serviceColumns, order: []string{"s.number"}, few: s.few, limit: form.PageSize(query.Limit)}
		if query.Health == store.ServiceUnhealthy || !query.ExpiresBefore.IsZero() {
			l.order = []string{"s.valid_until", "s.number"}
		}
		if err := askServices(c, l, &query); err != nil {
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

// askServices puts the questions of a query.
func askServices(c *conn, l *search, query *store.ServiceQuery) error {
	byEnd := len(l.order) > 1
	l.ask("s.certificates > 0")
	if query.ID != "" {
		l.meet(true, "s.id = ?", form.ServiceKey(query.ID))
	}
	questions, err := nameQuestions(c, l.few, query.Name, query.NamePattern, query.NamePart)
	for i := range questions {
		l.meetNames(&questions[i], "s.id")
	}
	if !query.ExpiresBefore.IsZero() {
		l.meet(byEnd, "s.certificates > 0 AND s.valid_until < ?", query.ExpiresBefore)
	}
	switch query.Health {
	case "":
	case store.ServiceHealthy:
		l.meet(byEnd, "s.certificates > 0 AND s.valid_until >= ?", query.Now)
	case store.ServiceUnhealthy:
		l.meet(byEnd, "s.certificates > 0 AND s.valid_until < ?", query.Now)
	default:
		l.ask("false") // there are no others
	}
	return err
}
