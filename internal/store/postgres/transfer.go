package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/form"
	"chancery/internal/store/transfer"
)

const (
	selectIdentity  = "SELECT id FROM identity"
	selectTransfer  = "SELECT source FROM transfer"
	insertTransfer  = "INSERT INTO transfer (one, source) VALUES (1, $1) ON CONFLICT DO NOTHING"
	deleteTransfer  = "DELETE FROM transfer"
	deletePositions = "DELETE FROM transfer_positions"
	selectPosition  = "SELECT position FROM transfer_positions WHERE kind = $1"
	// The position $2 if it was $3.
	upsertPosition = "INSERT INTO transfer_positions (kind, position) VALUES ($1, $2) " +
		"ON CONFLICT (kind) DO UPDATE SET position = excluded.position WHERE transfer_positions.position = $3"

	insertServiceNames = "INSERT INTO service_names (domain, label, service) SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[]) ON CONFLICT DO NOTHING"
	// What follows from certificates that were entered.
	countEnteredBegin = ", gone AS (SELECT not_after, issuer_id, profile, CASE WHEN revoked = 0 THEN 1 ELSE 0 END AS good, " +
		"CASE WHEN revoked > 0 AND NOT abandoned THEN 1 ELSE 0 END AS revoked, CASE WHEN abandoned THEN 1 ELSE 0 END AS abandoned FROM entered), " + addGone

	selectNumbered = "SELECT setval(pg_get_serial_sequence('services', 'number'), (SELECT max(number) FROM services)) WHERE EXISTS (SELECT 1 FROM services)"
)

// Transfer is a store as one that records are moved out of or into.
type Transfer struct{ store *Store }

var _ transfer.Destination = (*Transfer)(nil)

// Transfer returns the store's records, for moving them.
func (s *Store) Transfer() *Transfer { return &Transfer{s} }

// transferColumns are the columns that this engine has in another form.
func transferColumns() transfer.Columns { return transfer.Columns{"partitions.ended": "ended = 1"} }

// checkTransfer returns an error for a store that records are being moved into.
func (s *Store) checkTransfer(ctx context.Context) error {
	_, err := read(ctx, s, "look for an unfinished migration", func(c *conn) (struct{}, error) {
		q := ask(nil, selectTransfer)
		err := c.run(q)
		if err == nil && q.changed > 0 {
			err = transfer.ErrUnfinished
		}
		return struct{}{}, err
	})
	return err
}

// Identity implements transfer.Source.
func (t *Transfer) Identity(ctx context.Context) (string, error) {
	return read(ctx, t.store, "read the store's identity", func(c *conn) (id string, err error) {
		err = c.one(func(r *row) { id = r.text() }, selectIdentity)
		return id, err
	})
}

// nodeGone is after how long a node that is not seen any more has ended.
const nodeGone = 30 * time.Second

// Idle implements transfer.Source.
func (t *Transfer) Idle(ctx context.Context) error {
	if err := t.store.checkTransfer(ctx); err != nil {
		return err
	}
	nodes, now, err := t.store.ListNodes(ctx)
	for i := range nodes {
		if ago := now.Sub(nodes[i].Seen); ago < nodeGone {
			return fmt.Errorf("%w: the node %s (%.8s) was seen %s ago", transfer.ErrInUse, nodes[i].Name, nodes[i].ID, ago.Truncate(time.Second))
		}
	}
	return err
}

// Count implements transfer.Source.
func (t *Transfer) Count(ctx context.Context, kind *transfer.Kind) (int64, error) {
	return read(ctx, t.store, "count records", func(c *conn) (n int64, err error) {
		err = c.one(func(r *row) { n = r.int64() }, kind.CountSQL())
		return n, err
	})
}

// Page implements transfer.Source.
func (t *Transfer) Page(ctx context.Context, kind *transfer.Kind, after transfer.Row) ([]transfer.Row, error) {
	sql := numbered(kind.PageSQL(transferColumns(), after == nil))
	args := append(append([]any(nil), after...), kind.Page)
	return read(ctx, t.store, "read records", func(c *conn) (rows []transfer.Row, err error) {
		err = c.each(func(r *row) {
			rows = append(rows, kind.Read(transfer.Reader{Text: r.text, Number: r.int64, Truth: r.bool, Octets: r.blob}))
		}, sql, args...)
		return rows, err
	})
}

// Begin implements transfer.Destination.
func (t *Transfer) Begin(ctx context.Context, source string) (resumed bool, err error) {
	return step(ctx, t.store, "begin the migration", func(c *conn) (bool, error) {
		has := ""
		err := c.one(func(r *row) { has = r.text() }, selectTransfer)
		switch {
		case err == nil && has != source:
			return false, transfer.ErrOtherSource
		case !errors.Is(err, store.ErrNotFound):
			return !c.again, err
		}
		kinds := transfer.Kinds()
		queries := make([]*query, len(kinds))
		for i, kind := range kinds {
			queries[i] = ask(nil, kind.AnySQL())
		}
		if err := c.run(queries...); err != nil {
			return false, err
		}
		for i, q := range queries {
			if q.changed > 0 {
				return false, fmt.Errorf("%w: it has %s", transfer.ErrNotEmpty, kinds[i].Label())
			}
		}
		insert := do(insertTransfer, source)
		err = c.last(insert)
		if err == nil && insert.changed == 0 {
			err = transfer.ErrOvertaken
		}
		return false, err
	})
}

// Position implements transfer.Destination.
func (t *Transfer) Position(ctx context.Context, kind *transfer.Kind) ([]byte, error) {
	return read(ctx, t.store, "read the position of the migration", func(c *conn) ([]byte, error) { return positionOf(c, kind) })
}

func positionOf(c *conn, kind *transfer.Kind) (position []byte, err error) {
	err = c.each(func(r *row) { position = r.blob() }, selectPosition, kind.Name)
	return position, err
}

// Put implements transfer.Destination.
func (t *Transfer) Put(ctx context.Context, kind *transfer.Kind, rows []transfer.Row, before, now []byte) error {
	queries := storing(kind, rows)
	return update(ctx, t.store, "store records", func(c *conn) error {
		move := do(upsertPosition, kind.Name, now, before)
		if err := c.run(move); err != nil {
			return err
		}
		if move.changed > 0 {
			return c.last(queries...)
		}
		found, err := positionOf(c, kind)
		if err == nil && !(c.again && bytes.Equal(found, now)) {
			err = transfer.ErrOvertaken
		}
		return err
	})
}

// storing are the statements that store records and what follows from them, each
// for all records.
func storing(kind *transfer.Kind, rows []transfer.Row) []*query {
	args, names := make([]any, len(kind.Columns)), make([]string, len(kind.Columns))
	for i, column := range kind.Columns {
		args[i], names[i] = columnOf(rows, i), column.Name
	}
	values, more := strings.Join(names, ", "), []string(nil)
	switch kind.Name {
	case "partitions":
		values = strings.Replace(values, "ended", "CASE WHEN ended THEN 1 ELSE 0 END", 1)
	case "services":
		values, more = values+", false", []string{"searchable"}
	}
	sql := kind.InsertSQL(more...) + "SELECT " + values + " FROM unnest(" + transfer.Marks(len(names)) + ") AS r (" + strings.Join(names, ", ") + ")"
	if kind.Name == "certificates" {
		sql = "WITH entered AS (" + sql + " RETURNING not_after, issuer_id, profile, revoked, abandoned)" + countEnteredBegin
	}
	queries := []*query{do(numbered(sql), args...)}
	if kind.Name == "services" {
		queries = append(queries, namesOfServices(kind, rows))
	}
	return queries
}

// columnOf are the values of a column as an array of its type.
func columnOf(rows []transfer.Row, i int) any {
	switch rows[0][i].(type) {
	case int64:
		return valuesOf[int64](rows, i)
	case bool:
		return valuesOf[bool](rows, i)
	case []byte:
		return valuesOf[[]byte](rows, i)
	default:
		return valuesOf[string](rows, i)
	}
}

func valuesOf[T any](rows []transfer.Row, i int) []T {
	values := make([]T, len(rows))
	for j, r := range rows {
		values[j], _ = r[i].(T)
	}
	return values
}

func namesOfServices(kind *transfer.Kind, rows []transfer.Row) *query {
	var domains, labels []string
	var services [][]byte
	id := kind.Index("id")
	for _, r := range rows {
		for name := range form.Names(kind.Text(r, "names")) {
			domain, label := form.Place(name)
			service, _ := r[id].([]byte)
			domains, labels, services = append(domains, domain), append(labels, label), append(services, service)
		}
	}
	return do(insertServiceNames, domains, labels, services)
}

// Build implements transfer.Destination: services that come go on after the
// numbers of these. They are entered into the search once the store is served,
// as those are that come; until then it looks at them one by one.
func (t *Transfer) Build(ctx context.Context) error {
	return update(ctx, t.store, "number services", func(c *conn) error { return c.last(do(selectNumbered)) })
}

// End implements transfer.Destination.
func (t *Transfer) End(ctx context.Context) error {
	return update(ctx, t.store, "end the migration", func(c *conn) error {
		return c.last(do(deleteTransfer), do(deletePositions))
	})
}
