package postgres

import (
	"context"
	"encoding/json"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	provisionerColumns = "name, type, spec, created"

	insertProvisioner = changing + "INSERT INTO provisioners (" + provisionerColumns + ") VALUES ($1, $2, $3, $4) " +
		"ON CONFLICT DO NOTHING RETURNING name" + notingProvisioners + "SELECT name FROM changed"
	selectProvisioners = "SELECT " + provisionerColumns + " FROM provisioners ORDER BY name"
	deleteProvisioner  = changing + "DELETE FROM provisioners WHERE name = $1 RETURNING name" + notingProvisioners + "SELECT name FROM changed"
)

func readProvisioner(r *row) store.Provisioner {
	return store.Provisioner{Name: r.text(), Type: r.text(), Spec: json.RawMessage(r.text()), Created: r.time()}
}

// CreateProvisioner implements store.Provisioners.
func (s *Store) CreateProvisioner(ctx context.Context, p store.Provisioner) error {
	return update(ctx, s, "create provisioner", func(c *conn) error {
		q := do(insertProvisioner, p.Name, p.Type, string(p.Spec), p.Created)
		if err := c.last(q); err != nil || q.changed > 0 {
			return err
		}
		if c.again {
			same := false
			err := c.each(func(r *row) {
				stored := readProvisioner(r)
				same = same || stored.Name == p.Name && string(stored.Spec) == string(p.Spec) && form.Millis(stored.Created) == form.Millis(p.Created)
			}, selectProvisioners)
			if err != nil || same {
				return err
			}
		}
		return store.ErrClaimed
	})
}

// ListProvisioners implements store.Provisioners.
func (s *Store) ListProvisioners(ctx context.Context) ([]store.Provisioner, error) {
	return read(ctx, s, "list provisioners", func(c *conn) (list []store.Provisioner, err error) {
		err = c.each(func(r *row) {
			list = append(list, readProvisioner(r))
		}, selectProvisioners)
		return list, err
	})
}

// RemoveProvisioner implements store.Provisioners.
func (s *Store) RemoveProvisioner(ctx context.Context, name string) error {
	return update(ctx, s, "remove provisioner", func(c *conn) error {
		q := do(deleteProvisioner, name)
		if err := c.last(q); err != nil || q.changed > 0 || c.again {
			return err
		}
		return store.ErrNotFound
	})
}
