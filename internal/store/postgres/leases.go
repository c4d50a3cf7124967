package postgres

import (
	"context"
	"time"

	"chancery/internal/store"
)

const (
	// serverClock is now, by the server's clock, in milliseconds since 1970.
	serverClock = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

	// Where it has waited for another, its end is sooner by as much.
	takeLease = "INSERT INTO leases (name, holder, token, until) VALUES ($1, $2, 1, " + serverClock + " + $3) " +
		"ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until, " +
		"token = leases.token + CASE WHEN leases.holder = excluded.holder AND leases.until > " + serverClock + " THEN 0 ELSE 1 END " +
		"WHERE leases.holder IN ('', excluded.holder) OR leases.until <= " + serverClock + " RETURNING token, until"
	giveLease    = "UPDATE leases SET holder = '', until = 0 WHERE name = $1 AND holder = $2 AND token = $3"
	selectLeases = "SELECT name, holder, token, until FROM leases WHERE holder <> '' AND until > " + serverClock + " ORDER BY name"

	// Fails, and with it all that follows in the transaction, when the lease is
	// another's. Else nobody takes it before the transaction ends.
	holdLease = "SELECT 1 / count(*) FROM (SELECT 1 FROM leases WHERE name = $1 AND token = $2 FOR SHARE) held"
	// divisionByZero is the SQLSTATE of that.
	divisionByZero = "22012"
)

// TakeLease implements store.Leases.
func (s *Store) TakeLease(ctx context.Context, name, holder string, life time.Duration) (store.Lease, error) {
	return step(ctx, s, "take a lease", func(c *conn) (store.Lease, error) {
		lease := store.Lease{Name: name, Holder: holder}
		q := ask(func(r *row) { lease.Token, lease.Until = r.int64(), r.time() }, takeLease, name, holder, life.Milliseconds())
		err := c.last(q)
		if err == nil && q.changed == 0 {
			err = store.ErrClaimed
		}
		return lease, err
	})
}

// GiveLease implements store.Leases.
func (s *Store) GiveLease(ctx context.Context, lease store.Lease) error {
	return update(ctx, s, "give a lease back", func(c *conn) error {
		return c.last(do(giveLease, lease.Name, lease.Holder, lease.Token))
	})
}

// ListLeases implements store.Leases.
func (s *Store) ListLeases(ctx context.Context) ([]store.Lease, error) {
	return read(ctx, s, "list leases", func(c *conn) (list []store.Lease, err error) {
		err = c.each(func(r *row) {
			list = append(list, store.Lease{Name: r.text(), Holder: r.text(), Token: r.int64(), Until: r.time()})
		}, selectLeases)
		return list, err
	})
}

// fenced is last for a step under a lease: it is one round trip all the same.
func (c *conn) fenced(fence store.Fence, queries ...*query) error {
	return asFenced(c.last(append(fencing(fence), queries...)...))
}

// fencing is what a transaction under a lease begins with.
func fencing(fence store.Fence) []*query {
	if fence == (store.Fence{}) {
		return nil
	}
	return []*query{do(holdLease, fence.Lease, fence.Token)}
}

// asFenced says in the store's words that fencing failed.
func asFenced(err error) error {
	if codeOf(err) == divisionByZero {
		return store.ErrFenced
	}
	return err
}
