package postgres

import (
	"context"
	"encoding/json"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	incidentColumns = "id, query, explanation, opened, renew_by, closed"

	insertIncident = changing + "INSERT INTO incidents (" + incidentColumns + ") VALUES ($1, $2, $3, $4, $5, $6) " +
		"ON CONFLICT DO NOTHING RETURNING id" + notingIncidents + "SELECT id FROM changed"
	selectIncident       = "SELECT " + incidentColumns + " FROM incidents WHERE id = $1 FOR UPDATE"
	selectIncidents      = "SELECT " + incidentColumns + " FROM incidents ORDER BY opened DESC, id DESC"
	updateIncidentClosed = "UPDATE incidents SET closed = $1 WHERE id = $2"
)

func readIncident(r *row) store.Incident {
	return store.Incident{
		ID: r.text(), Query: json.RawMessage(r.text()), Explanation: r.text(),
		Opened: r.time(), RenewBy: r.time(), Closed: r.time(),
	}
}

// CreateIncident implements store.Incidents.
func (s *Store) CreateIncident(ctx context.Context, i store.Incident) error {
	return update(ctx, s, "create incident", func(c *conn) error {
		return c.create(do(insertIncident, i.ID, string(i.Query), i.Explanation, i.Opened, i.RenewBy, i.Closed))
	})
}

// CloseIncident implements store.Incidents.
func (s *Store) CloseIncident(ctx context.Context, id string, now time.Time) error {
	return update(ctx, s, "close incident", func(c *conn) error {
		var incident store.Incident
		if err := c.one(func(r *row) { incident = readIncident(r) }, selectIncident, id); err != nil {
			return err
		}
		if c.again && form.Millis(incident.Closed) == form.Millis(now) {
			return nil
		}
		if !incident.Closed.IsZero() {
			return store.ErrNotValid
		}
		return c.last(do(updateIncidentClosed, now, id), changes(store.KindIncidents))
	})
}

// ListIncidents implements store.Incidents.
func (s *Store) ListIncidents(ctx context.Context) ([]store.Incident, error) {
	return read(ctx, s, "list incidents", func(c *conn) (list []store.Incident, err error) {
		err = c.each(func(r *row) { list = append(list, readIncident(r)) }, selectIncidents)
		return list, err
	})
}
