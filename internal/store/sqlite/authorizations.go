package sqlite

import (
	"context"
	"errors"
	"slices"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	authorizationColumns = "id, account_id, type, value, wildcard, token, methods, state, created, expires, method, " +
		"thumbprint, settled, next_attempt, claimed_till, grant_id, subdomains, failure, attempts"

	insertAuthorization = "INSERT INTO authorizations (order_id, " + authorizationColumns + ") " +
		"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	selectAuthorization      = "SELECT " + authorizationColumns + " FROM authorizations WHERE id = ?"
	selectAuthorizationValid = "SELECT " + authorizationColumns + " FROM authorizations WHERE account_id = ? AND value = ? " +
		"AND type = ? AND wildcard = ? AND expires > ? AND state = 'valid' ORDER BY expires DESC LIMIT 1"
	selectAuthorizationAbove = "SELECT " + authorizationColumns + " FROM authorizations WHERE account_id = ? AND value = ? " +
		"AND type = ? AND wildcard = 0 AND expires > ? AND state = 'valid' AND subdomains = 1 ORDER BY expires DESC LIMIT 1"
	selectAuthorizationsDue = "SELECT " + authorizationColumns + " FROM authorizations WHERE next_attempt <= ? " +
		"AND next_attempt > 0 AND claimed_till <= ? AND expires > ? ORDER BY next_attempt LIMIT ?"

	updateAuthorizationClaimed = "UPDATE authorizations SET method = ?, thumbprint = ?, next_attempt = ?, claimed_till = ? " +
		"WHERE id = ? AND state = 'pending' AND method IN ('', ?) AND expires > ?"
	updateAuthorizationTill = "UPDATE authorizations SET claimed_till = ? WHERE id = ?"
	// An attempt is appended to those before it.
	updateAuthorizationTried = "UPDATE authorizations SET attempts = attempts || iif(attempts = '', '', ',') || ?, " +
		"next_attempt = ?, claimed_till = 0 WHERE id = ? AND state = 'pending' AND next_attempt > 0"
	updateAuthorizationSettled = "UPDATE authorizations SET state = ?1, method = ?2, thumbprint = ?3, settled = ?4, " +
		"attempts = attempts || iif(attempts = '' OR ?5 = '', '', ',') || ?5, failure = ?6, expires = iif(?7 = 0, expires, ?7), " +
		"next_attempt = 0, claimed_till = 0 WHERE id = ?8 AND state = 'pending' AND expires > ?4"
	updateAuthorizationDeactivated = "UPDATE authorizations SET state = 'deactivated', next_attempt = 0, claimed_till = 0 WHERE id = ?"
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
		r.decode([]byte("["+attempts+"]"), &a.Attempts)
	}
	return a
}

func oneAuthorization(c *conn, id string) (a store.Authorization, err error) {
	err = c.one(func(r *row) { a = readAuthorization(r) }, selectAuthorization, id)
	return a, err
}

// insertAuthorizationOf stores an authorization that was made for an order.
func insertAuthorizationOf(c *conn, a *store.Authorization, orderID string) error {
	methods, err := form.List(a.Methods)
	if err != nil {
		return err
	}
	failed, err := form.Text(a.Failure)
	if err != nil {
		return err
	}
	attempts, err := form.Attempts(a.Attempts)
	if err != nil {
		return err
	}
	_, err = c.exec(insertAuthorization, orderID, a.ID, a.AccountID, string(a.Identifier.Type), a.Identifier.Value,
		a.Wildcard, a.Token, methods, string(a.State), a.Created, a.Expires, a.Method, a.Thumbprint, a.Settled,
		a.NextAttempt, a.ClaimedTill, a.GrantID, a.Subdomains, failed, attempts)
	keepAuthorization(c, *a)
	return err
}

// keepAuthorization is for an authorization that was just written.
func keepAuthorization(c *conn, a store.Authorization) {
	round(&a.Created, &a.Expires, &a.Settled, &a.NextAttempt, &a.ClaimedTill)
	c.recent.keep(a.ID, a)
}

// CreateAuthorization implements store.Authorizations.
func (s *Store) CreateAuthorization(ctx context.Context, authz store.Authorization) error {
	return update(ctx, s, "create authorization", func(c *conn) error {
		if _, err := validAccount(c, authz.AccountID); err != nil {
			return err
		}
		return insertAuthorizationOf(c, &authz, "")
	})
}

// Authorization implements store.Authorizations.
func (s *Store) Authorization(ctx context.Context, id string) (store.Authorization, error) {
	if authz, ok := s.recent.authorization(id); ok {
		return authz, nil
	}
	return read(ctx, s, "read authorization", func(c *conn) (store.Authorization, error) {
		return oneAuthorization(c, id)
	})
}

// ValidAuthorizations implements store.Authorizations.
func (s *Store) ValidAuthorizations(ctx context.Context, accountID string, names []identifier.Identifier, after time.Time) (map[identifier.Identifier]store.Authorization, error) {
	return read(ctx, s, "read valid authorizations", func(c *conn) (map[identifier.Identifier]store.Authorization, error) {
		found := make(map[identifier.Identifier]store.Authorization)
		for _, name := range names {
			base := name.Base()
			err := c.each(func(r *row) { found[name] = readAuthorization(r) }, selectAuthorizationValid,
				accountID, base.Value, string(base.Type), name.IsWildcard(), after)
			if err != nil {
				return nil, err
			}
		}
		return found, nil
	})
}

// ValidAncestors implements store.Authorizations.
func (s *Store) ValidAncestors(ctx context.Context, accountID string, names []identifier.Identifier, after time.Time) (map[identifier.Identifier]store.Authorization, error) {
	return read(ctx, s, "read valid authorizations above", func(c *conn) (map[identifier.Identifier]store.Authorization, error) {
		found := make(map[identifier.Identifier]store.Authorization)
		for _, name := range names {
			for above := range form.Above(name) {
				err := c.one(func(r *row) { found[name] = readAuthorization(r) }, selectAuthorizationAbove,
					accountID, above, string(identifier.DNS), after)
				if err == nil {
					break
				}
				if !errors.Is(err, store.ErrNotFound) {
					return nil, err
				}
			}
		}
		return found, nil
	})
}

// ClaimValidation implements store.Authorizations.
func (s *Store) ClaimValidation(ctx context.Context, id string, claim store.ValidationClaim) error {
	return update(ctx, s, "claim validation", func(c *conn) error {
		changed, err := c.exec(updateAuthorizationClaimed, claim.Method, claim.Thumbprint, form.Due(claim.NextAttempt),
			claim.Till, id, claim.Method, s.now())
		return pendingError(c, id, changed, err)
	})
}

// RecordAttempt implements store.Authorizations.
func (s *Store) RecordAttempt(ctx context.Context, id string, attempt store.Attempt, next time.Time) error {
	text, err := form.Text(&attempt)
	if err != nil {
		return err
	}
	return update(ctx, s, "record attempt", func(c *conn) error {
		changed, err := c.exec(updateAuthorizationTried, text, form.Due(next), id)
		return pendingError(c, id, changed, err)
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
		before, known := c.recent.current(id).(store.Authorization)
		changed, err := c.exec(updateAuthorizationSettled, string(state), outcome.Method, outcome.Thumbprint,
			outcome.Settled, attempt, failed, outcome.Expires, id)
		if known && changed > 0 {
			settle(c, before, state, &outcome)
		}
		return pendingError(c, id, changed, err)
	})
}

// settle keeps what an authorization became by its outcome.
func settle(c *conn, a store.Authorization, state store.AuthorizationStatus, outcome *store.Outcome) {
	a.State, a.Method, a.Thumbprint, a.Settled = state, outcome.Method, outcome.Thumbprint, outcome.Settled
	a.Failure, a.NextAttempt, a.ClaimedTill = outcome.Failure, time.Time{}, time.Time{}
	if outcome.Attempt != nil {
		a.Attempts = append(slices.Clip(a.Attempts), *outcome.Attempt)
	}
	if !outcome.Expires.IsZero() {
		a.Expires = outcome.Expires
	}
	keepAuthorization(c, a)
}

// pendingError says why an update of a pending authorization changed nothing.
func pendingError(c *conn, id string, changed int64, err error) error {
	if err != nil || changed > 0 {
		return err
	}
	if _, err := oneAuthorization(c, id); err != nil {
		return err
	}
	return store.ErrNotPending
}

// DeactivateAuthorization implements store.Authorizations.
func (s *Store) DeactivateAuthorization(ctx context.Context, id string) (store.Authorization, error) {
	return step(ctx, s, "deactivate authorization", func(c *conn) (store.Authorization, error) {
		a, err := oneAuthorization(c, id)
		if err != nil {
			return a, err
		}
		switch a.Status(s.now()) {
		case store.AuthorizationPending, store.AuthorizationValid:
		default:
			return a, store.ErrNotPending
		}
		_, err = c.exec(updateAuthorizationDeactivated, id)
		a.State, a.NextAttempt, a.ClaimedTill = store.AuthorizationDeactivated, time.Time{}, time.Time{}
		return a, err
	})
}

// DueValidations implements store.Authorizations. It is asked again and again,
// so it writes only when something is due.
func (s *Store) DueValidations(ctx context.Context, now, lease time.Time, limit int) ([]store.Authorization, error) {
	look := func(c *conn) (list []store.Authorization, err error) {
		err = c.each(func(r *row) { list = append(list, readAuthorization(r)) }, selectAuthorizationsDue, now, now, now, form.PageSize(limit))
		return list, err
	}
	if list, err := read(ctx, s, "look for due validations", look); err != nil || len(list) == 0 {
		return nil, err
	}
	return step(ctx, s, "claim due validations", func(c *conn) ([]store.Authorization, error) {
		list, err := look(c)
		for i := 0; i < len(list) && err == nil; i++ {
			list[i].ClaimedTill = lease
			_, err = c.exec(updateAuthorizationTill, lease, list[i].ID)
		}
		return list, err
	})
}
