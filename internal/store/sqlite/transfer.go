package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"chancery/internal/store"
	"chancery/internal/store/form"
	"chancery/internal/store/transfer"
)

const (
	selectIdentity     = "SELECT id FROM identity"
	selectTransfer     = "SELECT source FROM transfer"
	insertTransfer     = "INSERT INTO transfer (one, source) VALUES (1, ?)"
	selectPosition     = "SELECT position FROM transfer_positions WHERE kind = ?"
	upsertPosition     = "INSERT INTO transfer_positions (kind, position) VALUES (?, ?) ON CONFLICT (kind) DO UPDATE SET position = excluded.position"
	deleteTransfer     = "DELETE FROM transfer"
	deletePositions    = "DELETE FROM transfer_positions"
	selectNextNumber   = "SELECT coalesce(max(number), 0) FROM (SELECT number FROM services WHERE number > ? ORDER BY number LIMIT ?)"
	selectServiceOf    = "coalesce((SELECT number FROM services WHERE id = ?), 0)"
	readServiceOf      = "coalesce((SELECT id FROM services WHERE number = certificates.service), x'')"
	transferSearchStep = 1000 // services that are entered into the search in one transaction
)

// Transfer is a store as one that records are moved out of or into.
type Transfer struct{ store *Store }

var _ transfer.Destination = (*Transfer)(nil)

// Transfer returns the store's records, for moving them.
func (s *Store) Transfer() *Transfer { return &Transfer{s} }

// transferColumns are the columns that this engine has in another form. The ids
// of an order's authorizations are another; see neutral and own.
func transferColumns() transfer.Columns {
	return transfer.Columns{"certificates.service": readServiceOf, "partitions.ended": "ended = 1"}
}

// checkServed refuses a file that records are being moved into, unless it was
// opened for that.
func (s *Store) checkServed(c *conn) error {
	if s.transferring {
		return nil
	}
	return checkTransfer(c)
}

// checkTransfer returns an error for a store that records are being moved into.
func checkTransfer(c *conn) error {
	err := c.one(func(*row) {}, selectTransfer)
	if err == nil {
		return transfer.ErrUnfinished
	}
	return ignoreIf(errors.Is(err, store.ErrNotFound), err)
}

// Identity implements transfer.Source.
func (t *Transfer) Identity(ctx context.Context) (string, error) {
	return read(ctx, t.store, "read the store's identity", func(c *conn) (id string, err error) {
		err = c.one(func(r *row) { id = r.text() }, selectIdentity)
		return id, err
	})
}

// Idle implements transfer.Source: who has the directory's lock is alone.
func (t *Transfer) Idle(ctx context.Context) error {
	_, err := read(ctx, t.store, "look for an unfinished migration", func(c *conn) (struct{}, error) { return struct{}{}, checkTransfer(c) })
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
	return read(ctx, t.store, "read records", func(c *conn) (rows []transfer.Row, err error) {
		args := append(append([]any(nil), after...), kind.Page)
		err = c.each(func(r *row) { rows = append(rows, neutral(kind, r)) }, kind.PageSQL(transferColumns(), after == nil), args...)
		return rows, err
	})
}

// neutral reads a record.
func neutral(kind *transfer.Kind, r *row) transfer.Row {
	values := kind.Read(transfer.Reader{Text: r.text, Number: r.int64, Truth: r.bool, Octets: r.blob})
	if at := kind.Index("authorization_ids"); at >= 0 {
		var ids []string
		r.decode([]byte(values[at].(string)), &ids)
		values[at] = strings.Join(ids, " ")
	}
	return values
}

// own is a record as it is bound.
func own(kind *transfer.Kind, r transfer.Row) ([]any, error) {
	at := kind.Index("authorization_ids")
	if at < 0 {
		return r, nil
	}
	text, err := form.List(strings.Fields(r[at].(string)))
	r = append(transfer.Row(nil), r...)
	r[at] = text
	return r, err
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
			return true, err
		}
		for _, kind := range transfer.Kinds() {
			found := false
			if err := c.each(func(*row) { found = true }, kind.AnySQL()); err != nil {
				return false, err
			}
			if found {
				return false, fmt.Errorf("%w: it has %s", transfer.ErrNotEmpty, kind.Label())
			}
		}
		_, err = c.exec(insertTransfer, source)
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
	return update(ctx, t.store, "store records", func(c *conn) error {
		found, err := positionOf(c, kind)
		if err != nil {
			return err
		}
		if !bytes.Equal(found, before) {
			return transfer.ErrOvertaken
		}
		if err := storeRows(c, kind, rows); err != nil {
			return err
		}
		_, err = c.exec(upsertPosition, kind.Name, now)
		return err
	})
}

func storeRows(c *conn, kind *transfer.Kind, rows []transfer.Row) error {
	values := strings.Split(transfer.Marks(len(kind.Columns)), ", ")
	if at := kind.Index("service"); at >= 0 {
		values[at] = selectServiceOf
	}
	sql := kind.InsertSQL() + "VALUES (" + strings.Join(values, ", ") + ")"
	for _, r := range rows {
		args, err := own(kind, r)
		if err != nil {
			return err
		}
		if _, err := c.exec(sql, args...); err != nil {
			return err
		}
		if err := derive(c, kind, r); err != nil {
			return err
		}
	}
	return nil
}

// derive stores what follows from a record.
func derive(c *conn, kind *transfer.Kind, r transfer.Row) error {
	switch kind.Name {
	case "services":
		for name := range form.Names(kind.Text(r, "names")) {
			domain, label := form.Place(name)
			if _, err := c.exec(insertServiceName, domain, label, kind.Number(r, "number")); err != nil {
				return err
			}
		}
	case "certificates":
		certificate := kind.Certificate(r)
		return countCertificate(c, &certificate, 1)
	}
	return nil
}

// Build implements transfer.Destination: it enters services into the search.
func (t *Transfer) Build(ctx context.Context) error {
	for {
		finished, err := step(ctx, t.store, "enter services into the search", func(c *conn) (bool, error) {
			indexed, err := indexedServices(c)
			if err != nil {
				return false, err
			}
			next := int64(0)
			err = c.one(func(r *row) { next = r.int64() }, selectNextNumber, indexed, transferSearchStep)
			if err != nil || next == 0 {
				return true, err
			}
			if _, err := c.exec(insertSearch, indexed, next); err != nil {
				return false, err
			}
			_, err = c.exec(updateIndexed, next)
			return false, err
		})
		if err != nil || finished {
			return err
		}
	}
}

// End implements transfer.Destination.
func (t *Transfer) End(ctx context.Context) error {
	return update(ctx, t.store, "end the migration", func(c *conn) error {
		if _, err := c.exec(deleteTransfer); err != nil {
			return err
		}
		_, err := c.exec(deletePositions)
		return err
	})
}
