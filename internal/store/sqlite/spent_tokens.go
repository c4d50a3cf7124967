package sqlite

import (
	"time"

	"chancery/internal/store"
)

const (
	insertSpent       = "INSERT INTO spent_tokens (id, expires) VALUES (?, ?) ON CONFLICT DO NOTHING"
	deleteSpent       = "DELETE FROM spent_tokens WHERE id = ?"
	deleteSpentBefore = "DELETE FROM spent_tokens WHERE id IN (SELECT id FROM spent_tokens INDEXED BY spent_tokens_expires " +
		"WHERE expires > 0 AND expires < ? ORDER BY expires LIMIT ?)"
)

// spendToken remembers a one-time token until its expiry, zero for ever.
// ErrUsed when it was spent before.
func spendToken(c *conn, id string, expires time.Time) error {
	changed, err := c.exec(insertSpent, id, expires)
	if err == nil && changed == 0 {
		err = store.ErrUsed
	}
	return err
}

// freeToken lets a token be spent again.
func freeToken(c *conn, id string) error {
	_, err := c.exec(deleteSpent, id)
	return err
}

func removeSpentTokens(c *conn, cutoff time.Time, limit int) (int, error) {
	n, err := c.exec(deleteSpentBefore, cutoff, limit)
	return int(n), err
}
