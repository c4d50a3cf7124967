package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"chancery/internal/failure"
	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	orderColumns = "id, account_id, profile, not_before, not_after, replaces_issuer, replaces_serial, created, expires, " +
		"finalized, certificate_issuer, certificate_serial, identifiers, authorization_ids, failure"

	// An order, for an account that is valid. The account is not locked: a
	// lock, shared as it may be, is written to the account's row.
	insertOrder = "INSERT INTO orders (" + orderColumns + ") SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '', ''::bytea, $11, $12, $13 " +
		"WHERE EXISTS (SELECT 1 FROM accounts WHERE id = $2 AND status = 'valid') ON CONFLICT DO NOTHING"
	insertReuse = "INSERT INTO authorization_reuses (authorization_id, order_id) SELECT $1, $2 " +
		"WHERE EXISTS (SELECT 1 FROM orders WHERE id = $2) ON CONFLICT DO NOTHING"

	// Orders come with their authorizations in one statement, which sees both
	// at the same moment: a row for each authorization, or one when there is none.
	selectOrdersBegin = "SELECT o.id, o.account_id, o.profile, o.not_before, o.not_after, o.replaces_issuer, o.replaces_serial, o.created, o.expires, " +
		"o.finalized, o.certificate_issuer, o.certificate_serial, o.identifiers, o.authorization_ids, o.failure, " +
		"a.id, a.account_id, a.type, a.value, a.wildcard, a.token, a.methods, a.state, a.created, a.expires, a.method, " +
		"a.thumbprint, a.settled, a.next_attempt, a.claimed_till, a.grant_id, a.subdomains, a.failure, a.attempts FROM "
	selectOrdersEnd = " o LEFT JOIN authorizations a ON a.id = ANY (string_to_array(o.authorization_ids, ' ')) ORDER BY o.id DESC"

	selectOrder            = selectOrdersBegin + "(SELECT * FROM orders WHERE id = $1)" + selectOrdersEnd
	selectOrders           = selectOrdersBegin + "(SELECT * FROM orders WHERE id < $1 ORDER BY id DESC LIMIT $2)" + selectOrdersEnd
	selectOrdersByAccount  = selectOrdersBegin + "(SELECT * FROM orders WHERE account_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3)" + selectOrdersEnd
	selectOrdersByReplaces = selectOrdersBegin + "(SELECT * FROM orders WHERE replaces_serial = $1 AND replaces_issuer = $2 AND replaces_issuer <> '')" + selectOrdersEnd

	// Holds the row until the transaction ends, made or found.
	upsertReplacement = "INSERT INTO replacements (serial, issuer_id) VALUES ($1, $2) ON CONFLICT (serial, issuer_id) DO UPDATE SET issuer_id = excluded.issuer_id"

	// An order that can still end is pending or ready at $3.
	updateOrderEnded = "UPDATE orders SET failure = $1 WHERE id = $2 AND finalized = 0 AND certificate_issuer = '' AND failure = '' AND expires > $3 " +
		"AND NOT EXISTS (SELECT 1 FROM authorizations a WHERE a.id = ANY (string_to_array(authorization_ids, ' ')) " +
		"AND (a.expires <= $3 OR a.state NOT IN ('pending', 'valid')))"
)

func readOrder(r *row) (o store.Order) {
	o = store.Order{ID: r.text(), AccountID: r.text(), Profile: r.text(), NotBefore: r.time(), NotAfter: r.time()}
	o.Replaces = readKey(r)
	o.Created, o.Expires, o.Finalized = r.time(), r.time(), r.time()
	o.Certificate = readKey(r)
	r.json(&o.Identifiers)
	o.AuthorizationIDs = strings.Fields(r.text())
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

// orders gathers the rows of a statement that begins with selectOrdersBegin.
type orders struct{ list []store.Order }

func (o *orders) add(r *row) {
	order := readOrder(r)
	if n := len(o.list); n == 0 || o.list[n-1].ID != order.ID {
		o.list = append(o.list, order)
	}
	if len(order.AuthorizationIDs) > 0 {
		last := &o.list[len(o.list)-1]
		last.Authorizations = append(last.Authorizations, readAuthorization(r))
	}
}

// sorted puts the authorizations of the orders into their order. All must be
// there, for the status depends on each.
func (o *orders) sorted() ([]store.Order, error) {
	for i := range o.list {
		order := &o.list[i]
		found := make([]store.Authorization, 0, len(order.AuthorizationIDs))
		for _, id := range order.AuthorizationIDs {
			at := slices.IndexFunc(order.Authorizations, func(a store.Authorization) bool { return a.ID == id })
			if at < 0 {
				return nil, fmt.Errorf("couldn't find authorization %s of order %s", id, order.ID)
			}
			found = append(found, order.Authorizations[at])
		}
		if order.Authorizations = found; len(found) == 0 {
			order.Authorizations, order.AuthorizationIDs = nil, nil
		}
	}
	return o.list, nil
}

// ordersOf reads a statement's orders with their authorizations.
func ordersOf(c *conn, sql string, args ...any) ([]store.Order, error) {
	var found orders
	if err := c.each(found.add, sql, args...); err != nil {
		return nil, err
	}
	return found.sorted()
}

func oneOrder(c *conn, id string) (store.Order, error) {
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
	order.AuthorizationIDs = make([]string, len(order.Authorizations))
	for i := range order.Authorizations {
		order.AuthorizationIDs[i] = order.Authorizations[i].ID
	}
	stored, err := step(ctx, s, "create order", func(c *conn) (store.Order, error) {
		if order.Replaces != nil {
			rival, err := rivalOf(c, &order)
			if !errors.Is(err, store.ErrNotFound) {
				return rival, err
			}
		}
		return order, storeOrder(c, &order, fresh)
	})
	return stored, err == nil && stored.ID == order.ID, err
}

// rivalOf keeps others from replacing the same certificate and returns the
// order that does so already, if it asks the same; ErrNotFound when there is
// none, ErrReplaced when it asks for something else.
func rivalOf(c *conn, order *store.Order) (store.Order, error) {
	var found orders
	key, account := *order.Replaces, ask(nil, selectAccount, order.AccountID)
	err := c.run(do(upsertReplacement, key.Serial[:], key.IssuerID), ask(found.add, selectOrdersByReplaces, key.Serial[:], key.IssuerID), account)
	if err != nil {
		return store.Order{}, err
	}
	if account.changed == 0 {
		return store.Order{}, store.ErrNotFound
	}
	rival, err := replacing(&found, order.Created)
	if err == nil && rival.ID != order.ID && !order.Repeats(&rival) {
		return store.Order{}, store.ErrReplaced
	}
	return rival, err
}

// replacing is the first of some orders that is not invalid at now, or
// ErrNotFound.
func replacing(found *orders, now time.Time) (store.Order, error) {
	list, err := found.sorted()
	if err != nil {
		return store.Order{}, err
	}
	return store.Standing(list, now)
}

// storeOrder stores an order with the fresh authorizations, and notes which
// others it lists, so that they stay as long as it does.
func storeOrder(c *conn, o *store.Order, fresh []store.Authorization) error {
	insert, err := orderInsert(o)
	if err != nil {
		return err
	}
	queries := []*query{insert}
	for i := range fresh {
		q, err := authorizationInsert(&fresh[i], insertAuthorizationOfOrder, o.ID)
		if err != nil {
			return err
		}
		queries = append(queries, q)
	}
	for _, id := range o.AuthorizationIDs {
		if !slices.ContainsFunc(fresh, func(a store.Authorization) bool { return a.ID == id }) {
			queries = append(queries, do(insertReuse, id, o.ID))
		}
	}
	if err := c.last(queries...); err != nil || insert.changed > 0 {
		return err
	}
	if _, err := oneOrder(c, o.ID); !errors.Is(err, store.ErrNotFound) {
		return err // it was stored by an attempt before
	}
	return notValid(c, o.AccountID)
}

func orderInsert(o *store.Order) (*query, error) {
	identifiers, err := form.List(o.Identifiers)
	if err != nil {
		return nil, err
	}
	failed, err := form.Text(o.Failure)
	if err != nil {
		return nil, err
	}
	var replaces store.CertificateKey
	if o.Replaces != nil {
		replaces = *o.Replaces
	}
	return do(insertOrder, o.ID, o.AccountID, o.Profile, o.NotBefore, o.NotAfter, replaces.IssuerID, replaces.Serial[:],
		o.Created, o.Expires, o.Finalized, identifiers, strings.Join(o.AuthorizationIDs, " "), failed), nil
}

// Order implements store.Orders.
func (s *Store) Order(ctx context.Context, id string) (store.Order, error) {
	return read(ctx, s, "read order", func(c *conn) (store.Order, error) { return oneOrder(c, id) })
}

// FailOrder implements store.Orders.
func (s *Store) FailOrder(ctx context.Context, id string, report *failure.Report) error {
	text, err := form.End(report)
	if err != nil {
		return err
	}
	return update(ctx, s, "fail order", func(c *conn) error {
		q := do(updateOrderEnded, text, id, s.now())
		if err := c.last(q); err != nil || q.changed > 0 {
			return err
		}
		_, err := oneOrder(c, id)
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
