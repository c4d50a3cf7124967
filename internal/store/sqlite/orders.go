package sqlite

import (
	"context"
	"errors"
	"slices"
	"time"

	"chancery/internal/failure"
	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	orderColumns = "id, account_id, profile, not_before, not_after, replaces_issuer, replaces_serial, created, expires, " +
		"finalized, certificate_issuer, certificate_serial, identifiers, authorization_ids, failure"

	insertOrder = "INSERT INTO orders (" + orderColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', x'', ?, ?, ?)"
	insertReuse = "INSERT INTO authorization_reuses (authorization_id, order_id) VALUES (?, ?) ON CONFLICT DO NOTHING"

	selectOrder            = "SELECT " + orderColumns + " FROM orders WHERE id = ?"
	selectOrders           = "SELECT " + orderColumns + " FROM orders WHERE id < ? ORDER BY id DESC LIMIT ?"
	selectOrdersByAccount  = "SELECT " + orderColumns + " FROM orders WHERE account_id = ? AND id < ? ORDER BY id DESC LIMIT ?"
	selectOrdersByReplaces = "SELECT " + orderColumns + " FROM orders WHERE replaces_serial = ? AND replaces_issuer = ? AND replaces_issuer <> ''"
	updateOrderFailed      = "UPDATE orders SET failure = ? WHERE id = ?"
)

func readOrder(r *row) store.Order {
	o := store.Order{ID: r.text(), AccountID: r.text(), Profile: r.text(), NotBefore: r.time(), NotAfter: r.time()}
	o.Replaces = readKey(r)
	o.Created, o.Expires, o.Finalized = r.time(), r.time(), r.time()
	o.Certificate = readKey(r)
	r.json(&o.Identifiers)
	r.json(&o.AuthorizationIDs)
	r.json(&o.Failure)
	return o
}

// readKey reads the issuer and serial of a certificate; nil when there is none.
func readKey(r *row) *store.CertificateKey {
	key := store.CertificateKey{IssuerID: r.text()}
	if key.IssuerID == "" {
		r.next()
		return nil
	}
	r.fixed(key.Serial[:])
	return &key
}

// ordersOf reads a query's orders with their authorizations.
func ordersOf(c *conn, sql string, args ...any) (list []store.Order, err error) {
	if err := c.each(func(r *row) { list = append(list, readOrder(r)) }, sql, args...); err != nil {
		return nil, err
	}
	for i := range list {
		for _, id := range list[i].AuthorizationIDs {
			authz, err := oneAuthorization(c, id)
			if err != nil {
				return nil, err
			}
			list[i].Authorizations = append(list[i].Authorizations, authz)
		}
	}
	return list, nil
}

func oneOrder(c *conn, id string) (store.Order, error) {
	if c.recent != nil {
		if order, ok := whole(id, c.recent.current); ok {
			return order, nil
		}
	}
	list, err := ordersOf(c, selectOrder, id)
	if err == nil && len(list) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Order{}, err
	}
	return list[0], nil
}

// CreateOrder implements store.Orders.
func (s *Store) CreateOrder(ctx context.Context, order store.Order, fresh []store.Authorization) (store.Order, bool, error) {
	type result struct {
		stored  store.Order
		created bool
	}
	order.AuthorizationIDs = nil
	for i := range order.Authorizations {
		order.AuthorizationIDs = append(order.AuthorizationIDs, order.Authorizations[i].ID)
	}
	r, err := step(ctx, s, "create order", func(c *conn) (result, error) {
		if _, err := validAccount(c, order.AccountID); err != nil {
			return result{}, err
		}
		if order.Replaces == nil {
			return result{order, true}, storeOrder(c, &order, fresh)
		}
		rival, err := replacement(c, *order.Replaces, order.Created)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return result{order, true}, storeOrder(c, &order, fresh)
		case err == nil && !order.Repeats(&rival):
			err = store.ErrReplaced
		}
		return result{stored: rival}, err
	})
	return r.stored, r.created, err
}

// replacement returns the order that replaces a certificate and is not invalid
// at now, or ErrNotFound.
func replacement(c *conn, key store.CertificateKey, now time.Time) (store.Order, error) {
	list, err := ordersOf(c, selectOrdersByReplaces, key.Serial[:], key.IssuerID)
	if err != nil {
		return store.Order{}, err
	}
	return store.Standing(list, now)
}

func storeOrder(c *conn, o *store.Order, fresh []store.Authorization) error {
	identifiers, err := form.List(o.Identifiers)
	if err != nil {
		return err
	}
	ids, err := form.List(o.AuthorizationIDs)
	if err != nil {
		return err
	}
	failed, err := form.Text(o.Failure)
	if err != nil {
		return err
	}
	var replaces store.CertificateKey
	if o.Replaces != nil {
		replaces = *o.Replaces
	}
	_, err = c.exec(insertOrder, o.ID, o.AccountID, o.Profile, o.NotBefore, o.NotAfter, replaces.IssuerID,
		replaces.Serial[:], o.Created, o.Expires, o.Finalized, identifiers, ids, failed)
	if err != nil {
		return err
	}
	keepOrder(c, *o)
	return storeAuthorizations(c, o, fresh)
}

// keepOrder is for an order that was just written.
func keepOrder(c *conn, o store.Order) {
	round(&o.NotBefore, &o.NotAfter, &o.Created, &o.Expires, &o.Finalized)
	o.Authorizations = nil
	c.recent.keep(o.ID, o)
}

// storeAuthorizations stores the fresh ones and notes which others the order
// lists, so that they stay as long as it does.
func storeAuthorizations(c *conn, o *store.Order, fresh []store.Authorization) error {
	for i := range fresh {
		if err := insertAuthorizationOf(c, &fresh[i], o.ID); err != nil {
			return err
		}
	}
	for _, id := range o.AuthorizationIDs {
		if slices.ContainsFunc(fresh, func(a store.Authorization) bool { return a.ID == id }) {
			continue
		}
		if _, err := c.exec(insertReuse, id, o.ID); err != nil {
			return err
		}
	}
	return nil
}

// Order implements store.Orders.
func (s *Store) Order(ctx context.Context, id string) (store.Order, error) {
	if order, ok := s.recent.order(id); ok {
		return order, nil
	}
	return read(ctx, s, "read order", func(c *conn) (store.Order, error) { return oneOrder(c, id) })
}

// FailOrder implements store.Orders.
func (s *Store) FailOrder(ctx context.Context, id string, report *failure.Report) error {
	text, err := form.End(report)
	if err != nil {
		return err
	}
	return update(ctx, s, "fail order", func(c *conn) error {
		order, err := oneOrder(c, id)
		if err != nil {
			return err
		}
		switch order.Status(s.now()) {
		case store.OrderPending, store.OrderReady:
			_, err = c.exec(updateOrderFailed, text, id)
		}
		return err
	})
}

// ListOrders implements store.Orders.
func (s *Store) ListOrders(ctx context.Context, query store.OrderQuery) ([]store.Order, error) {
	return read(ctx, s, "list orders", func(c *conn) ([]store.Order, error) {
		before, limit := page(query.Before, query.Limit)
		if query.AccountID != "" {
			return ordersOf(c, selectOrdersByAccount, query.AccountID, before, limit)
		}
		return ordersOf(c, selectOrders, before, limit)
	})
}
