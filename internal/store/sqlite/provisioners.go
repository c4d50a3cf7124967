package sqlite

import (
	"context"
	"encoding/json"

	"chancery/internal/store"
)

const (
	provisionerColumns = "name, type, spec, created"

	insertProvisioner  = "INSERT INTO provisioners (" + provisionerColumns + ") VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
	selectProvisioners = "SELECT " + provisionerColumns + " FROM provisioners ORDER BY name"
	deleteProvisioner  = "DELETE FROM provisioners WHERE name = ?"
)

// CreateProvisioner implements store.Provisioners.
func (s *Store) CreateProvisioner(ctx context.Context, p store.Provisioner) error {
	return update(ctx, s, "create provisioner", func(c *conn) error {
		changed, err := c.exec(insertProvisioner, p.Name, p.Type, string(p.Spec), p.Created)
		if err == nil && changed == 0 {
			err = store.ErrClaimed
		}
		return err
	})
}

// ListProvisioners implements store.Provisioners.
func (s *Store) ListProvisioners(ctx context.Context) ([]store.Provisioner, error) {
	return read(ctx, s, "list provisioners", func(c *conn) (list []store.Provisioner, err error) {
		err = c.each(func(r *row) {
			list = append(list, store.Provisioner{Name: r.text(), Type: r.text(), Spec: json.RawMessage(r.text()), Created: r.time()})
		}, selectProvisioners)
		return list, err
	})
}

// RemoveProvisioner implements store.Provisioners.
func (s *Store) RemoveProvisioner(ctx context.Context, name string) error {
	return update(ctx, s, "remove provisioner", func(c *conn) error {
		changed, err := c.exec(deleteProvisioner, name)
		if err == nil && changed == 0 {
			err = store.ErrNotFound
		}
		return err
	})
}
