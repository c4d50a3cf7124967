package postgres

import (
	"context"

	"chancery/internal/store"
)

const (
	selectVersions = "SELECT kind, version FROM versions"
	// All steps of a kind change one row: it comes last in their transactions.
	updateVersion = "UPDATE versions SET version = version + 1 WHERE kind = $1"

	// The beginnings of a statement that changes a record or finds that it must
	// not, and notes it when it did: changed has the rows.
	changing = "WITH changed AS ("
	noting   = "), noted AS (UPDATE versions SET version = version + 1 WHERE EXISTS (SELECT 1 FROM changed) AND kind = "

	notingAccounts     = noting + "'accounts') "
	notingBindings     = noting + "'bindings') "
	notingProvisioners = noting + "'provisioners') "
	notingIncidents    = noting + "'incidents') "
	notingIssuers      = noting + "'issuers') "

	insertSecret = "INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING" //nolint:gosec // is none
	selectSecret = "SELECT value FROM secrets WHERE name = $1"                                //nolint:gosec // is none
)

// changes notes that a record of the kind was changed, at the end of the
// transaction that does it.
func changes(kind store.Kind) *query { return do(updateVersion, string(kind)) }

// Versions implements store.Shared.
func (s *Store) Versions(ctx context.Context) (map[store.Kind]int64, error) {
	return read(ctx, s, "read what has changed", func(c *conn) (map[store.Kind]int64, error) {
		versions := map[store.Kind]int64{}
		err := c.each(func(r *row) { versions[store.Kind(r.text())] = r.int64() }, selectVersions)
		return versions, err
	})
}

// Secret implements store.Shared.
func (s *Store) Secret(ctx context.Context, name string, fresh []byte) ([]byte, error) {
	return step(ctx, s, "read a secret", func(c *conn) (secret []byte, err error) {
		err = c.last(do(insertSecret, name, fresh), ask(func(r *row) { secret = r.blob() }, selectSecret, name))
		return secret, err
	})
}
