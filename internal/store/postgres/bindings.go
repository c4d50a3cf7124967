package postgres

import (
	"context"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	bindingColumns = "id, name, secret, single_use, created, expires, revoked, used_by, used, uses, granted"

	insertBinding = changing + "INSERT INTO bindings (" + bindingColumns + ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) " +
		"ON CONFLICT DO NOTHING RETURNING id" + notingBindings + "SELECT id FROM changed"
	selectBinding          = "SELECT " + bindingColumns + " FROM bindings WHERE id = $1"
	selectBindingForUpdate = selectBinding + " FOR UPDATE"
	selectBindings         = "SELECT " + bindingColumns + " FROM bindings ORDER BY created DESC, id DESC"
	updateBindingUsed      = "UPDATE bindings SET used_by = $1, used = $2, uses = uses + 1 WHERE id = $3"
	updateBindingRevoked   = "UPDATE bindings SET revoked = $1 WHERE id = $2"
	updateBindingChanged   = "UPDATE bindings SET name = $1, expires = $2, granted = $3 WHERE id = $4"
	countBindingAccounts   = "SELECT count(*) FROM accounts WHERE binding_id = $1 AND binding_id <> '' AND status = 'valid'"
)

func readBinding(r *row) store.Binding {
	b := store.Binding{
		ID: r.text(), Name: r.text(), Secret: r.blob(), SingleUse: r.bool(), Created: r.time(), Expires: r.time(),
		Revoked: r.time(), UsedBy: r.text(), Used: r.time(), Uses: r.int(),
	}
	r.json(&b.Grant)
	return b
}

// encodeGrant is the JSON text of a grant, "" of one that says nothing.
func encodeGrant(g store.Grant) (string, error) {
	if g.IsZero() {
		return "", nil
	}
	return form.Text(&g)
}

func oneBinding(c *conn, sql, id string) (b store.Binding, err error) {
	err = c.one(func(r *row) { b = readBinding(r) }, sql, id)
	return b, err
}

// spendBinding takes an account's binding key for itself, looks for an account
// that has the same key (in which case nothing is spent), and returns what
// spends the binding key.
func spendBinding(c *conn, account *store.Account, look *query) (*query, error) {
	var b store.Binding
	accounts := 0
	binding := ask(func(r *row) { b = readBinding(r) }, selectBindingForUpdate, account.BindingID)
	err := c.run(binding, look, ask(func(r *row) { accounts = r.int() }, countBindingAccounts, account.BindingID))
	switch {
	case err != nil || look.changed > 0:
		return nil, err
	case binding.changed == 0:
		return nil, store.ErrNotFound
	case !b.Revoked.IsZero():
		return nil, store.ErrRevoked
	case !b.Expires.IsZero() && !account.Created.Before(b.Expires):
		return nil, store.ErrExpired
	case b.SingleUse && b.Uses > 0:
		return nil, store.ErrUsed
	case b.Grant.MaxAccounts > 0 && accounts >= b.Grant.MaxAccounts:
		return nil, store.ErrFull
	}
	return do(updateBindingUsed, account.ID, account.Created, b.ID), nil
}

// CreateBinding implements store.Bindings.
func (s *Store) CreateBinding(ctx context.Context, b store.Binding) error {
	granted, err := encodeGrant(b.Grant)
	if err != nil {
		return err
	}
	return update(ctx, s, "create binding", func(c *conn) error {
		return c.create(do(insertBinding, b.ID, b.Name, b.Secret, b.SingleUse, b.Created, b.Expires, b.Revoked, b.UsedBy, b.Used, b.Uses, granted))
	})
}

// UpdateBinding implements store.Bindings.
func (s *Store) UpdateBinding(ctx context.Context, id string, change store.BindingChange) (store.Binding, error) {
	return step(ctx, s, "update binding", func(c *conn) (store.Binding, error) {
		b, err := oneBinding(c, selectBindingForUpdate, id)
		if err != nil {
			return b, err
		}
		if !b.Revoked.IsZero() {
			return b, store.ErrRevoked
		}
		change.Apply(&b)
		granted, err := encodeGrant(b.Grant)
		if err != nil {
			return b, err
		}
		return b, c.last(do(updateBindingChanged, b.Name, b.Expires, granted, id), changes(store.KindBindings))
	})
}

// Binding implements store.Bindings.
func (s *Store) Binding(ctx context.Context, id string) (store.Binding, error) {
	return read(ctx, s, "read binding", func(c *conn) (store.Binding, error) { return oneBinding(c, selectBinding, id) })
}

// ListBindings implements store.Bindings.
func (s *Store) ListBindings(ctx context.Context) ([]store.Binding, error) {
	return read(ctx, s, "list bindings", func(c *conn) (list []store.Binding, err error) {
		err = c.each(func(r *row) {
			b := readBinding(r)
			b.Secret = nil
			list = append(list, b)
		}, selectBindings)
		return list, err
	})
}

// RevokeBinding implements store.Bindings.
func (s *Store) RevokeBinding(ctx context.Context, id string, now time.Time) error {
	return update(ctx, s, "revoke binding", func(c *conn) error {
		b, err := oneBinding(c, selectBindingForUpdate, id)
		switch {
		case err != nil:
			return err
		case c.again && form.Millis(b.Revoked) == form.Millis(now):
			return nil
		case !b.Revoked.IsZero():
			return store.ErrRevoked
		}
		return c.last(do(updateBindingRevoked, now, id), changes(store.KindBindings))
	})
}
