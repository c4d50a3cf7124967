package postgres

import (
	"context"
	"encoding/json"
	"time"

	"chancery/internal/store"
)

const (
	// dayBefore is the day before now, by the server's clock.
	dayBefore = serverClock + " - 86400000"

	upsertNode = "INSERT INTO nodes (id, name, version, started, clock, seen, details) VALUES ($1, $2, $3, $4, $5, " + serverClock + ", $6) " +
		"ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version, started = excluded.started, " +
		"clock = excluded.clock, seen = excluded.seen, details = excluded.details"
	deleteOldNodes = "DELETE FROM nodes WHERE id IN (SELECT id FROM nodes WHERE seen <= " + dayBefore + " FOR UPDATE SKIP LOCKED)"
	selectNodes    = "SELECT id, name, version, started, clock, seen, details FROM nodes WHERE seen > " + dayBefore + " ORDER BY name, id"
	selectClock    = "SELECT " + serverClock
	deleteNode     = "DELETE FROM nodes WHERE id = $1"
)

// SeeNode implements store.Nodes.
func (s *Store) SeeNode(ctx context.Context, n store.Node) error {
	return update(ctx, s, "note a node", func(c *conn) error {
		return c.last(do(upsertNode, n.ID, n.Name, n.Version, n.Started, n.Clock, string(n.Details)), do(deleteOldNodes))
	})
}

// ListNodes implements store.Nodes.
func (s *Store) ListNodes(ctx context.Context) (nodes []store.Node, now time.Time, err error) {
	nodes, err = read(ctx, s, "list nodes", func(c *conn) (list []store.Node, err error) {
		add := func(r *row) {
			n := store.Node{ID: r.text(), Name: r.text(), Version: r.text(), Started: r.time(), Clock: r.time(), Seen: r.time()}
			if details := r.text(); details != "" {
				n.Details = json.RawMessage(details)
			}
			list = append(list, n)
		}
		err = c.run(ask(add, selectNodes), ask(func(r *row) { now = r.time() }, selectClock))
		return list, err
	})
	return nodes, now, err
}

// RemoveNode implements store.Nodes.
func (s *Store) RemoveNode(ctx context.Context, id string) error {
	return update(ctx, s, "remove a node", func(c *conn) error { return c.last(do(deleteNode, id)) })
}
