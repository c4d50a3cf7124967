package sqlite

import (
	"context"
	"errors"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	bindingColumns = "id, name, secret, single_use, created, expires, revoked, used_by, used, uses, granted"

	insertBinding        = "INSERT INTO bindings (" + bindingColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	selectBinding        = "SELECT " + bindingColumns + " FROM bindings WHERE id = ?"
	selectBindings       = "SELECT " + bindingColumns + " FROM bindings ORDER BY created DESC, id DESC"
	updateBindingUsed    = "UPDATE bindings SET used_by = ?, used = ?, uses = uses + 1 WHERE id = ?"
	updateBindingRevoked = "UPDATE bindings SET revoked = ? WHERE id = ?"
	updateBindingChanged = "UPDATE bindings SET name = ?, expires = ?, granted = ? WHERE id = ?"
	selectBindingFull    = "SELECT count(*) >= ? FROM accounts WHERE binding_id = ? AND binding_id <> '' AND status = 'valid'"
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

func oneBinding(c *conn, id string) (b store.Binding, err error) {
	err = c.one(func(r *row) { b = readBinding(r) }, selectBinding, id)
	return b, err
}

// useBinding spends a key on an account that is being created at now.
func useBinding(c *conn, id, accountID string, now time.Time) error {
	b, err := oneBinding(c, id)
	switch {
	case err != nil:
		return err
	case !b.Revoked.IsZero():
		return store.ErrRevoked
	case !b.Expires.IsZero() && !now.Before(b.Expires):
		return store.ErrExpired
	case b.SingleUse && b.Uses > 0:
		return store.ErrUsed
	}
	if full, err := isFull(c, &b); err != nil || full {
		return errors.Join(err, ignoreIf(!full, store.ErrFull))
	}
	_, err = c.exec(updateBindingUsed, accountID, now, id)
	return err
}

// isFull reports whether the key has all the accounts that its grant allows.
func isFull(c *conn, b *store.Binding) (full bool, err error) {
	if b.Grant.MaxAccounts > 0 {
		err = c.one(func(r *row) { full = r.bool() }, selectBindingFull, b.Grant.MaxAccounts, b.ID)
	}
	return full, err
}

// CreateBinding implements store.Bindings.
func (s *Store) CreateBinding(ctx context.Context, b store.Binding) error {
	granted, err := encodeGrant(b.Grant)
	if err != nil {
		return err
	}
	return update(ctx, s, "create binding", func(c *conn) error {
		_, err := c.exec(insertBinding, b.ID, b.Name, b.Secret, b.SingleUse, b.Created, b.Expires, b.Revoked, b.UsedBy, b.Used, b.Uses, granted)
		return err
	})
}

// UpdateBinding implements store.Bindings.
func (s *Store) UpdateBinding(ctx context.Context, id string, change store.BindingChange) (store.Binding, error) {
	return step(ctx, s, "update binding", func(c *conn) (store.Binding, error) {
		b, err := oneBinding(c, id)
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
		_, err = c.exec(updateBindingChanged, b.Name, b.Expires, granted, id)
		return b, err
	})
}

// Binding implements store.Bindings.
func (s *Store) Binding(ctx context.Context, id string) (store.Binding, error) {
	return read(ctx, s, "read binding", func(c *conn) (store.Binding, error) { return oneBinding(c, id) })
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
		b, err := oneBinding(c, id)
		if err != nil {
			return err
		}
		if !b.Revoked.IsZero() {
			return store.ErrRevoked
		}
		_, err = c.exec(updateBindingRevoked, now, id)
		return err
	})
}
