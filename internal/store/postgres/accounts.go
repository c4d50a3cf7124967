package postgres

import (
	"context"
	"encoding/json"

	"chancery/internal/failure"
	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	accountColumns = "id, thumbprint, jwk, contact, status, created, terms_agreed, binding_id, binding_request"

	insertAccount = "INSERT INTO accounts (" + accountColumns + ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING"

	selectAccount           = "SELECT " + accountColumns + " FROM accounts WHERE id = $1"
	selectAccountForUpdate  = selectAccount + " FOR UPDATE"
	selectAccountByKey      = "SELECT " + accountColumns + " FROM accounts WHERE thumbprint = $1"
	selectAccounts          = "SELECT " + accountColumns + " FROM accounts WHERE id < $1 ORDER BY id DESC LIMIT $2"
	selectAccountsByBinding = "SELECT " + accountColumns + " FROM accounts WHERE binding_id = $1 AND binding_id <> '' AND id < $2 ORDER BY id DESC LIMIT $3"
	updateAccountContact    = changing + "UPDATE accounts SET contact = $1 WHERE id = $2 AND status = 'valid' RETURNING " + accountColumns +
		notingAccounts + "SELECT " + accountColumns + " FROM changed"
	updateAccountKey    = "UPDATE accounts SET thumbprint = $1, jwk = $2 WHERE id = $3"
	updateAccountStatus = changing + "UPDATE accounts SET status = $1 WHERE id = $2 AND status = 'valid' RETURNING " + accountColumns +
		notingAccounts + "SELECT " + accountColumns + " FROM changed"
	// Orders end with their account. One that is being made at this moment may
	// stay behind: BeginIssuance looks at the account, too.
	updateOrdersAccountClosed = "UPDATE orders SET failure = $1 WHERE account_id = $2 AND finalized = 0 AND certificate_issuer = '' AND failure = '' " +
		"AND EXISTS (SELECT 1 FROM accounts WHERE id = $2 AND status <> 'valid')"
)

// lastID is above every identifier: where listings begin without a cursor.
const lastID = "~"

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
	contact, err := form.List(account.Contact)
	if err != nil {
		return store.Account{}, false, err
	}
	created := false
	stored, err := step(ctx, s, "create account", func(c *conn) (stored store.Account, err error) {
		created = false
		defer func() { created = created || c.again && stored.ID == account.ID }()
		insert := do(insertAccount, account.ID, account.Key.Thumbprint, account.Key.JWK, contact, string(account.Status),
			account.Created, account.TermsAgreed, account.BindingID, string(account.BindingRequest))
		look := ask(func(r *row) { stored = readAccount(r) }, selectAccountByKey, account.Key.Thumbprint)
		if account.BindingID == "" {
			err := c.last(insert, look)
			created = insert.changed > 0
			return stored, err
		}
		spent, err := spendBinding(c, &account, look)
		if err != nil || look.changed > 0 {
			return stored, err
		}
		if err := c.run(spent, insert); err != nil {
			return stored, err
		}
		if insert.changed == 0 {
			return stored, errConflict // with one that came by another binding key
		}
		created = true
		return account, c.last()
	})
	return stored, created && err == nil, err
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

// notValid says why a step that is for valid accounts found none.
func notValid(c *conn, id string) error {
	_, err := oneAccount(c, selectAccount, id)
	if err == nil {
		err = store.ErrNotValid
	}
	return err
}

// SetContact implements store.Accounts.
func (s *Store) SetContact(ctx context.Context, id string, contact []string) (store.Account, error) {
	text, err := form.List(contact)
	if err != nil {
		return store.Account{}, err
	}
	return step(ctx, s, "set contact", func(c *conn) (a store.Account, err error) {
		q := ask(func(r *row) { a = readAccount(r) }, updateAccountContact, text, id)
		if err := c.last(q); err != nil || q.changed > 0 {
			return a, err
		}
		return a, notValid(c, id)
	})
}

// ChangeKey implements store.Accounts.
func (s *Store) ChangeKey(ctx context.Context, id, oldThumbprint string, key store.AccountKey) (store.Account, error) {
	return step(ctx, s, "change account key", func(c *conn) (a store.Account, err error) {
		var holder store.Account
		account := ask(func(r *row) { a = readAccount(r) }, selectAccountForUpdate, id)
		held := ask(func(r *row) { holder = readAccount(r) }, selectAccountByKey, key.Thumbprint)
		if err := c.run(account, held); err != nil {
			return a, err
		}
		switch {
		case account.changed == 0:
			return a, store.ErrNotFound
		case a.Status != store.AccountValid:
			return a, store.ErrNotValid
		case c.again && a.Key.Thumbprint == key.Thumbprint:
			return a, nil
		case a.Key.Thumbprint != oldThumbprint:
			return a, store.ErrNotFound
		case held.changed > 0 && holder.ID != id:
			return a, &store.KeyInUseError{HolderID: holder.ID}
		}
		a.Key = key
		err = c.last(do(updateAccountKey, key.Thumbprint, key.JWK, id), changes(store.KindAccounts))
		if codeOf(err) == uniqueViolation {
			err = errConflict // the next attempt sees who has it
		}
		return a, err
	})
}

// CloseAccount implements store.Accounts.
func (s *Store) CloseAccount(ctx context.Context, id string, status store.AccountStatus, report *failure.Report) (store.Account, error) {
	text, err := form.End(report)
	if err != nil {
		return store.Account{}, err
	}
	return step(ctx, s, "close account", func(c *conn) (a store.Account, err error) {
		closed := ask(func(r *row) { a = readAccount(r) }, updateAccountStatus, string(status), id)
		if err := c.last(closed, do(updateOrdersAccountClosed, text, id)); err != nil || closed.changed > 0 {
			return a, err
		}
		if a, err = oneAccount(c, selectAccount, id); err != nil || c.again && a.Status == status {
			return a, err
		}
		return a, store.ErrNotValid
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
