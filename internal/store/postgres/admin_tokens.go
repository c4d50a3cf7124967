package postgres

import (
	"context"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	adminColumns = "id, name, role, hash, created, expires, revoked"

	insertAdminToken          = "INSERT INTO admin_tokens (" + adminColumns + ") VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"
	selectAdminToken          = "SELECT " + adminColumns + " FROM admin_tokens WHERE id = $1"
	selectAdminTokenForUpdate = selectAdminToken + " FOR UPDATE"
	selectAdminTokens         = "SELECT " + adminColumns + " FROM admin_tokens ORDER BY created DESC, id DESC"
	updateAdminTokenRevoked   = "UPDATE admin_tokens SET revoked = $1 WHERE id = $2"
)

func readAdminToken(r *row) store.AdminToken {
	t := store.AdminToken{ID: r.text(), Name: r.text(), Role: r.text()}
	r.fixed(t.Hash[:])
	t.Created, t.Expires, t.Revoked = r.time(), r.time(), r.time()
	return t
}

func oneAdminToken(c *conn, sql, id string) (t store.AdminToken, err error) {
	err = c.one(func(r *row) { t = readAdminToken(r) }, sql, id)
	return t, err
}

// CreateAdminToken implements store.AdminTokens.
func (s *Store) CreateAdminToken(ctx context.Context, t store.AdminToken) error {
	return update(ctx, s, "create admin token", func(c *conn) error {
		return c.create(do(insertAdminToken, t.ID, t.Name, t.Role, t.Hash[:], t.Created, t.Expires, t.Revoked))
	})
}

// AdminToken implements store.AdminTokens.
func (s *Store) AdminToken(ctx context.Context, id string) (store.AdminToken, error) {
	return read(ctx, s, "read admin token", func(c *conn) (store.AdminToken, error) { return oneAdminToken(c, selectAdminToken, id) })
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
		t, err := oneAdminToken(c, selectAdminTokenForUpdate, id)
		if err != nil {
			return err
		}
		if c.again && form.Millis(t.Revoked) == form.Millis(now) {
			return nil
		}
		if !t.Revoked.IsZero() {
			return store.ErrRevoked
		}
		return c.last(do(updateAdminTokenRevoked, now, id))
	})
}
