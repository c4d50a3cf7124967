package sqlite

import (
	"context"
	"encoding/json"
	"errors"

	"chancery/internal/failure"
	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	accountColumns = "id, thumbprint, jwk, contact, status, created, terms_agreed, binding_id, binding_request"

	insertAccount = "INSERT INTO accounts (" + accountColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

	selectAccount             = "SELECT " + accountColumns + " FROM accounts WHERE id = ?"
	selectAccountByKey        = "SELECT " + accountColumns + " FROM accounts WHERE thumbprint = ?"
	selectAccounts            = "SELECT " + accountColumns + " FROM accounts WHERE id < ? ORDER BY id DESC LIMIT ?"
	selectAccountsByBinding   = "SELECT " + accountColumns + " FROM accounts WHERE binding_id = ? AND binding_id <> '' AND id < ? ORDER BY id DESC LIMIT ?"
	updateAccountContact      = "UPDATE accounts SET contact = ? WHERE id = ?"
	updateAccountKey          = "UPDATE accounts SET thumbprint = ?, jwk = ? WHERE id = ?"
	updateAccountStatus       = "UPDATE accounts SET status = ? WHERE id = ?"
	updateOrdersAccountClosed = "UPDATE orders SET failure = ? WHERE account_id = ? AND finalized = 0 AND certificate_issuer = '' AND failure = ''"
)

// lastID is above every identifier: where listings begin without a cursor.
const lastID = "\U0010FFFF"

func readAccount(r *row) store.Account {
	a := store.Account{
		ID:  r.text(),
		Key: store.AccountKey{Thumbprint: r.text(), JWK: r.blob()},
	}
	r.json(&a.Contact)
	a.Status = store.AccountStatus(r.text())
	a.Created, a.TermsAgreed = r.time(), r.time()
	a.BindingID = r.text()
	if request := r.text(); request != "" {
		a.BindingRequest = json.RawMessage(request)
	}
	return a
}

func oneAccount(c *conn, sql, key string) (a store.Account, err error) {
	err = c.one(func(r *row) { a = readAccount(r) }, sql, key)
	return a, err
}

// CreateAccount implements store.Accounts.
func (s *Store) CreateAccount(ctx context.Context, account store.Account) (store.Account, bool, error) {
	type result struct {
		stored  store.Account
		created bool
	}
	r, err := step(ctx, s, "create account", func(c *conn) (result, error) {
		existing, err := oneAccount(c, selectAccountByKey, account.Key.Thumbprint)
		if err == nil || !errors.Is(err, store.ErrNotFound) {
			return result{stored: existing}, err
		}
		if account.BindingID != "" {
			if err := useBinding(c, account.BindingID, account.ID, account.Created); err != nil {
				return result{}, err
			}
		}
		return result{account, true}, insert(c, account)
	})
	return r.stored, r.created, err
}

func insert(c *conn, a store.Account) error {
	contact, err := form.List(a.Contact)
	if err != nil {
		return err
	}
	_, err = c.exec(insertAccount, a.ID, a.Key.Thumbprint, a.Key.JWK, contact, string(a.Status), a.Created,
		a.TermsAgreed, a.BindingID, string(a.BindingRequest))
	return err
}

// Account implements store.Accounts.
func (s *Store) Account(ctx context.Context, id string) (store.Account, error) {
	return read(ctx, s, "read account", func(c *conn) (store.Account, error) {
		return oneAccount(c, selectAccount, id)
	})
}

// AccountByKey implements store.Accounts.
func (s *Store) AccountByKey(ctx context.Context, thumbprint string) (store.Account, error) {
	return read(ctx, s, "read account by key", func(c *conn) (store.Account, error) {
		return oneAccount(c, selectAccountByKey, thumbprint)
	})
}

// validAccount returns an account that may still change.
func validAccount(c *conn, id string) (store.Account, error) {
	a, err := oneAccount(c, selectAccount, id)
	if err == nil && a.Status != store.AccountValid {
		err = store.ErrNotValid
	}
	return a, err
}

// SetContact implements store.Accounts.
func (s *Store) SetContact(ctx context.Context, id string, contact []string) (store.Account, error) {
	text, err := form.List(contact)
	if err != nil {
		return store.Account{}, err
	}
	return step(ctx, s, "set contact", func(c *conn) (store.Account, error) {
		a, err := validAccount(c, id)
		if err != nil {
			return a, err
		}
		_, err = c.exec(updateAccountContact, text, id)
		a.Contact = contact
		return a, err
	})
}

// ChangeKey implements store.Accounts.
func (s *Store) ChangeKey(ctx context.Context, id, oldThumbprint string, key store.AccountKey) (store.Account, error) {
	return step(ctx, s, "change account key", func(c *conn) (store.Account, error) {
		a, err := validAccount(c, id)
		if err != nil {
			return a, err
		}
		if a.Key.Thumbprint != oldThumbprint {
			return a, store.ErrNotFound
		}
		holder, err := oneAccount(c, selectAccountByKey, key.Thumbprint)
		if err == nil && holder.ID != id {
			return a, &store.KeyInUseError{HolderID: holder.ID}
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return a, err
		}
		_, err = c.exec(updateAccountKey, key.Thumbprint, key.JWK, id)
		a.Key = key
		return a, err
	})
}

// CloseAccount implements store.Accounts.
func (s *Store) CloseAccount(ctx context.Context, id string, status store.AccountStatus, report *failure.Report) (store.Account, error) {
	text, err := form.End(report)
	if err != nil {
		return store.Account{}, err
	}
	return step(ctx, s, "close account", func(c *conn) (store.Account, error) {
		a, err := validAccount(c, id)
		if err != nil {
			return a, err
		}
		if _, err := c.exec(updateAccountStatus, string(status), id); err != nil {
			return a, err
		}
		_, err = c.exec(updateOrdersAccountClosed, text, id)
		a.Status = status
		return a, err
	})
}

// ListAccounts implements store.Accounts.
func (s *Store) ListAccounts(ctx context.Context, query store.AccountQuery) ([]store.Account, error) {
	return read(ctx, s, "list accounts", func(c *conn) (list []store.Account, err error) {
		before, limit := page(query.Before, query.Limit)
		add := func(r *row) { list = append(list, readAccount(r)) }
		if query.BindingID != "" {
			err = c.each(add, selectAccountsByBinding, query.BindingID, before, limit)
		} else {
			err = c.each(add, selectAccounts, before, limit)
		}
		return list, err
	})
}

// page is the bound and the size of a page, with the defaults of store's
// queries filled in.
func page(before string, limit int) (string, int) {
	if before == "" {
		before = lastID
	}
	return before, form.PageSize(limit)
}
