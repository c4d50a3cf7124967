package postgres

import (
	"bytes"
	"context"
	"slices"
	"time"

	"chancery/internal/store"
)

const (
	insertNonces = "INSERT INTO spent_nonces (id) SELECT id FROM unnest($1::bytea[]) AS made (id) " +
		"WHERE id >= (SELECT id FROM nonce_floor) ON CONFLICT DO NOTHING RETURNING id"
	selectNonceFloor = "SELECT id FROM nonce_floor"
	updateNonceFloor = "UPDATE nonce_floor SET id = $1 WHERE id < $1"
	deleteNonces     = "DELETE FROM spent_nonces WHERE id IN (SELECT id FROM spent_nonces WHERE id < $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)"
)

// SpendNonces implements store.Nonces. The floor is read again after the nonces
// are in: Tidy raises it before it removes what is below. So where a nonce is
// not below it even then, the row of an earlier spending can't have been gone
// when this one was entered.
func (s *Store) SpendNonces(ctx context.Context, ids []store.NonceID) ([]bool, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	sorted := make([][]byte, len(ids)) // so that rivals wait for each other in one order
	for i := range ids {
		sorted[i] = ids[i][:]
	}
	slices.SortFunc(sorted, bytes.Compare)
	return step(ctx, s, "spend nonces", func(c *conn) ([]bool, error) {
		spent := make(map[store.NonceID]bool, len(ids))
		var floor []byte
		err := c.last(ask(func(r *row) {
			var id store.NonceID
			r.fixed(id[:])
			spent[id] = true
		}, insertNonces, sorted), ask(func(r *row) { floor = r.blob() }, selectNonceFloor))
		fresh := make([]bool, len(ids))
		for i := range ids {
			fresh[i] = spent[ids[i]] && bytes.Compare(ids[i][:], floor) >= 0
		}
		return fresh, err
	})
}

// nonceFloor is below every nonce that is made at that time or later.
func nonceFloor(made time.Time) []byte {
	ms := uint64(max(0, made.UnixMilli()))
	return []byte{byte(ms >> 40), byte(ms >> 32), byte(ms >> 24), byte(ms >> 16), byte(ms >> 8), byte(ms)}
}

// tidyNonces forgets nonces made before the cutoff: first nobody can spend them
// any more, then they go. See SpendNonces.
func (s *Store) tidyNonces(ctx context.Context, cutoff store.TidyCutoff, limit int) (removed int, err error) {
	floor := nonceFloor(cutoff.Nonces)
	err = update(ctx, s, "tidy", func(c *conn) error { return c.fenced(cutoff.Fence, do(updateNonceFloor, floor)) })
	if err != nil {
		return 0, err
	}
	return s.removeInBatches(ctx, limit, remover(deleteNonces, cutoff.Fence, floor))
}
