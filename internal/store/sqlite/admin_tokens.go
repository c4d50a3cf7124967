package sqlite

import (
	"context"
	"time"

	"chancery/internal/store"
)

const (
	adminColumns = "id, name, role, hash, created, expires, revoked"

	insertAdminToken        = "INSERT INTO admin_tokens (" + adminColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?)"
	selectAdminToken        = "SELECT " + adminColumns + " FROM admin_tokens WHERE id = ?"
	selectAdminTokens       = "SELECT " + adminColumns + " FROM admin_tokens ORDER BY created DESC, id DESC"
	updateAdminTokenRevoked = "UPDATE admin_tokens SET revoked = ? WHERE id = ?"
)

func readAdminToken(r *row) store.AdminToken {
	t := store.AdminToken{ID: r.text(), Name: r.text(), Role: r.text()}
	r.fixed(t.Hash[:])
	t.Created, t.Expires, t.Revoked = r.time(), r.time(), r.time()
	return t
}

func oneAdminToken(c *conn, id string) (t store.AdminToken, err error) {
	err = c.one(func(r *row) { t = readAdminToken(r) }, selectAdminToken, id)
	return t, err
}

// CreateAdminToken implements store.AdminTokens.
func (s *Store) CreateAdminToken(ctx context.Context, t store.AdminToken) error {
	return update(ctx, s, "create admin token", func(c *conn) error {
		_, err := c.exec(insertAdminToken, t.ID, t.Name, t.Role, t.Hash[:], t.Created, t.Expires, t.Revoked)
		return err
	})
}

// AdminToken implements store.AdminTokens.
func (s *Store) AdminToken(ctx context.Context, id string) (store.AdminToken, error) {
	return read(ctx, s, "read admin token", func(c *conn) (store.AdminToken, error) { return oneAdminToken(c, id) })
}

// ListAdminTokens implements store.AdminTokens.
func (s *Store) ListAdminTokens(ctx context.Context) ([]store.AdminToken, error) {
	return read(ctx, s, "list admin tokens", func(c *conn) (list []store.AdminToken, err error) {
		err = c.each(func(r *row) { list = append(list, readAdminToken(r)) }, selectAdminTokens)
		return list, err
	})
}

// RevokeAdminToken implements store.AdminTokens.
func (s *Store) RevokeAdminToken(ctx context.Context, id string, now time.Time) error {
	return update(ctx, s, "revoke admin token", func(c *conn) error {
		t, err := oneAdminToken(c, id)
		if err != nil {
			return err
		}
		if !t.Revoked.IsZero() {
			return store.ErrRevoked
		}
		_, err = c.exec(updateAdminTokenRevoked, now, id)
		return err
	})
}
