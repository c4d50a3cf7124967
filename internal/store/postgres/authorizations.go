package postgres

import (
	"context"
	"slices"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	authorizationColumns = "id, account_id, type, value, wildcard, token, methods, state, created, expires, method, " +
		"thumbprint, settled, next_attempt, claimed_till, grant_id, subdomains, failure, attempts"

	insertAuthorizationBegin = "INSERT INTO authorizations (order_id, " + authorizationColumns + ") SELECT " +
		"$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20 WHERE EXISTS "
	insertAuthorizationOfOrder = insertAuthorizationBegin + "(SELECT 1 FROM orders WHERE id = $1) ON CONFLICT DO NOTHING"
	insertAuthorizationAlone   = insertAuthorizationBegin + "(SELECT 1 FROM accounts WHERE id = $3 AND status = 'valid') ON CONFLICT DO NOTHING"

	selectAuthorization      = "SELECT " + authorizationColumns + " FROM authorizations WHERE id = $1"
	selectAuthorizationValid = "SELECT " + authorizationColumns + " FROM authorizations WHERE account_id = $1 AND value = $2 " +
		"AND type = $3 AND wildcard = $4 AND expires > $5 AND state = 'valid' ORDER BY expires DESC LIMIT 1"
	selectAuthorizationAbove = "SELECT " + authorizationColumns + " FROM authorizations WHERE account_id = $1 AND value = $2 " +
		"AND type = $3 AND NOT wildcard AND expires > $4 AND state = 'valid' AND subdomains ORDER BY expires DESC LIMIT 1"
	selectDue               = "SELECT id FROM authorizations WHERE next_attempt <= $1 AND next_attempt > 0 AND claimed_till <= $1 AND expires > $1 ORDER BY next_attempt LIMIT $2"
	updateAuthorizationsDue = "UPDATE authorizations SET claimed_till = $3 WHERE id IN (" + selectDue + " FOR UPDATE SKIP LOCKED) RETURNING " + authorizationColumns

	updateAuthorizationClaimed = "UPDATE authorizations SET method = $1, thumbprint = $2, next_attempt = $3, claimed_till = $4 " +
		"WHERE id = $5 AND state = 'pending' AND method IN ('', $1) AND expires > $6"
	// An attempt is appended to those before it.
	updateAuthorizationTried = "UPDATE authorizations SET attempts = attempts || CASE WHEN attempts = '' THEN '' ELSE ',' END || $1, " +
		"next_attempt = $2, claimed_till = 0 WHERE id = $3 AND state = 'pending' AND next_attempt > 0"
	updateAuthorizationSettled = "UPDATE authorizations SET state = $1, method = $2, thumbprint = $3, settled = $4, " +
		"attempts = attempts || CASE WHEN attempts = '' OR $5 = '' THEN '' ELSE ',' END || $5, failure = $6, " +
		"expires = CASE WHEN $7 = 0 THEN expires ELSE $7 END, next_attempt = 0, claimed_till = 0 WHERE id = $8 AND state = 'pending' AND expires > $4"
	updateAuthorizationDeactivated = "UPDATE authorizations SET state = 'deactivated', next_attempt = 0, claimed_till = 0 " +
		"WHERE id = $1 AND state IN ('pending', 'valid') AND expires > $2 RETURNING " + authorizationColumns
)

func readAuthorization(r *row) store.Authorization {
	a := store.Authorization{
		ID: r.text(), AccountID: r.text(), Identifier: identifier.Identifier{Type: identifier.Type(r.text()), Value: r.text()},
		Wildcard: r.bool(), Token: r.text(),
	}
	r.json(&a.Methods)
	a.State = store.AuthorizationStatus(r.text())
	a.Created, a.Expires = r.time(), r.time()
	a.Method, a.Thumbprint = r.text(), r.text()
	a.Settled, a.NextAttempt, a.ClaimedTill = r.time(), r.time(), r.time()
	a.GrantID, a.Subdomains = r.text(), r.bool()
	r.json(&a.Failure)
	if attempts := r.text(); attempts != "" {
		r.decode("["+attempts+"]", &a.Attempts)
	}
	return a
}

func oneAuthorization(c *conn, id string) (a store.Authorization, err error) {
	err = c.one(func(r *row) { a = readAuthorization(r) }, selectAuthorization, id)
	return a, err
}

// authorizationInsert stores an authorization that was made for an order, "" for
// none.
func authorizationInsert(a *store.Authorization, sql, orderID string) (*query, error) {
	methods, err := form.List(a.Methods)
	if err != nil {
		return nil, err
	}
	failed, err := form.Text(a.Failure)
	if err != nil {
		return nil, err
	}
	attempts, err := form.Attempts(a.Attempts)
	if err != nil {
		return nil, err
	}
	return do(sql, orderID, a.ID, a.AccountID, string(a.Identifier.Type), a.Identifier.Value,
		a.Wildcard, a.Token, methods, string(a.State), a.Created, a.Expires, a.Method, a.Thumbprint, a.Settled,
		a.NextAttempt, a.ClaimedTill, a.GrantID, a.Subdomains, failed, attempts), nil
}

// CreateAuthorization implements store.Authorizations.
func (s *Store) CreateAuthorization(ctx context.Context, authz store.Authorization) error {
	return update(ctx, s, "create authorization", func(c *conn) error {
		q, err := authorizationInsert(&authz, insertAuthorizationAlone, "")
		if err != nil {
			return err
		}
		if err := c.last(q); err != nil || q.changed > 0 {
			return err
		}
		if _, err := oneAuthorization(c, authz.ID); err == nil {
			return nil // it was stored by an attempt before
		}
		return notValid(c, authz.AccountID)
	})
}

// Authorization implements store.Authorizations.
func (s *Store) Authorization(ctx context.Context, id string) (store.Authorization, error) {
	return read(ctx, s, "read authorization", func(c *conn) (store.Authorization, error) {
		return oneAuthorization(c, id)
	})
}

// ValidAuthorizations implements store.Authorizations.
func (s *Store) ValidAuthorizations(ctx context.Context, accountID string, names []identifier.Identifier, after time.Time) (map[identifier.Identifier]store.Authorization, error) {
	return read(ctx, s, "read valid authorizations", func(c *conn) (map[identifier.Identifier]store.Authorization, error) {
		found := make(map[identifier.Identifier]store.Authorization)
		queries := make([]*query, 0, len(names))
		for _, name := range names {
			base := name.Base()
			queries = append(queries, ask(func(r *row) { found[name] = readAuthorization(r) }, selectAuthorizationValid,
				accountID, base.Value, string(base.Type), name.IsWildcard(), after))
		}
		return found, c.unlessNone(queries)
	})
}

// unlessNone is run for any number of statements.
func (c *conn) unlessNone(queries []*query) error {
	if len(queries) == 0 {
		return nil
	}
	return c.run(queries...)
}

// ValidAncestors implements store.Authorizations.
func (s *Store) ValidAncestors(ctx context.Context, accountID string, names []identifier.Identifier, after time.Time) (map[identifier.Identifier]store.Authorization, error) {
	return read(ctx, s, "read valid authorizations above", func(c *conn) (map[identifier.Identifier]store.Authorization, error) {
		found := make(map[identifier.Identifier]store.Authorization)
		var queries []*query
		for _, name := range names {
			add := func(r *row) {
				if _, nearer := found[name]; !nearer {
					found[name] = readAuthorization(r)
				}
			}
			for above := range form.Above(name) {
				queries = append(queries, ask(add, selectAuthorizationAbove, accountID, above, string(identifier.DNS), after))
			}
		}
		return found, c.unlessNone(queries)
	})
}

// ClaimValidation implements store.Authorizations.
func (s *Store) ClaimValidation(ctx context.Context, id string, claim store.ValidationClaim) error {
	return update(ctx, s, "claim validation", func(c *conn) error {
		return settle(c, id, func(*store.Authorization) bool { return false },
			updateAuthorizationClaimed, claim.Method, claim.Thumbprint, form.Due(claim.NextAttempt), claim.Till, id, s.now())
	})
}

// RecordAttempt implements store.Authorizations.
func (s *Store) RecordAttempt(ctx context.Context, id string, attempt store.Attempt, next time.Time) error {
	text, err := form.Text(&attempt)
	if err != nil {
		return err
	}
	return update(ctx, s, "record attempt", func(c *conn) error {
		recorded := func(a *store.Authorization) bool {
			n := len(a.Attempts)
			return n > 0 && a.Attempts[n-1].Started.Equal(attempt.Started) && a.Attempts[n-1].Method == attempt.Method
		}
		if c.again {
			if a, err := oneAuthorization(c, id); err != nil || recorded(&a) {
				return err
			}
		}
		return settle(c, id, recorded, updateAuthorizationTried, text, form.Due(next), id)
	})
}

// FinishAuthorization implements store.Authorizations.
func (s *Store) FinishAuthorization(ctx context.Context, id string, outcome store.Outcome) error {
	attempt, err := form.Text(outcome.Attempt)
	if err != nil {
		return err
	}
	failed, err := form.Text(outcome.Failure)
	if err != nil {
		return err
	}
	state := store.AuthorizationValid
	if outcome.Failure != nil {
		state = store.AuthorizationInvalid
	}
	return update(ctx, s, "finish authorization", func(c *conn) error {
		settled := func(a *store.Authorization) bool {
			return a.State == state && a.Method == outcome.Method && form.Millis(a.Settled) == form.Millis(outcome.Settled)
		}
		return settle(c, id, settled, updateAuthorizationSettled, string(state), outcome.Method, outcome.Thumbprint,
			outcome.Settled, attempt, failed, outcome.Expires, id)
	})
}

// settle changes a pending authorization. When there is nothing to change it
// says why, unless done tells that an attempt before has done it.
func settle(c *conn, id string, done func(*store.Authorization) bool, sql string, args ...any) error {
	q := do(sql, args...)
	if err := c.last(q); err != nil || q.changed > 0 {
		return err
	}
	a, err := oneAuthorization(c, id)
	if err != nil || c.again && done(&a) {
		return err
	}
	return store.ErrNotPending
}

// DeactivateAuthorization implements store.Authorizations.
func (s *Store) DeactivateAuthorization(ctx context.Context, id string) (store.Authorization, error) {
	return step(ctx, s, "deactivate authorization", func(c *conn) (a store.Authorization, err error) {
		q := ask(func(r *row) { a = readAuthorization(r) }, updateAuthorizationDeactivated, id, s.now())
		if err := c.last(q); err != nil || q.changed > 0 {
			return a, err
		}
		if a, err = oneAuthorization(c, id); err != nil || c.again && a.State == store.AuthorizationDeactivated {
			return a, err
		}
		return a, store.ErrNotPending
	})
}

// DueValidations implements store.Authorizations. It is asked again and again,
// so it writes only when something is due.
func (s *Store) DueValidations(ctx context.Context, now, lease time.Time, limit int) ([]store.Authorization, error) {
	some, err := read(ctx, s, "look for due validations", func(c *conn) (bool, error) {
		q := ask(nil, selectDue, now, 1)
		err := c.run(q)
		return q.changed > 0, err
	})
	if err != nil || !some {
		return nil, err
	}
	return step(ctx, s, "claim due validations", func(c *conn) (list []store.Authorization, err error) {
		err = c.last(ask(func(r *row) { list = append(list, readAuthorization(r)) }, updateAuthorizationsDue, now, form.PageSize(limit), lease))
		slices.SortFunc(list, func(a, b store.Authorization) int { return a.NextAttempt.Compare(b.NextAttempt) })
		return list, err
	})
}
