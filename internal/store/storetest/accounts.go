package storetest

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"chancery/internal/store"
)

func accountTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"are kept as they were given":         accountsAreKept,
		"with the same key are one":           oneAccountByKey,
		"have their contacts replaced":        contactsAreReplaced,
		"change their key":                    keysChange,
		"do not take another's key":           keysInUse,
		"close for good and end their orders": accountsClose,
		"are listed newest first, in pages":   accountsAreListed,
	}
}

func accountsAreKept(s *suite) {
	full := s.newAccount()
	s.must(s.store.CreateBinding(s.ctx, s.newBinding()))
	bindings, err := s.store.ListBindings(s.ctx)
	s.must(err)
	full.BindingID, full.BindingRequest = bindings[0].ID, json.RawMessage(`{"payload":"e30"}`)
	full.TermsAgreed = s.now.Add(-time.Hour)
	bare := s.newAccount()
	bare.Contact, bare.Key.JWK = nil, []byte{0}
	for _, account := range []store.Account{full, bare} {
		stored, created, err := s.store.CreateAccount(s.ctx, account)
		s.is(err, nil)
		s.same(created, true)
		s.same(stored, account)
		byID, err := s.store.Account(s.ctx, account.ID)
		s.is(err, nil)
		s.same(byID, account)
		byKey, err := s.store.AccountByKey(s.ctx, account.Key.Thumbprint)
		s.is(err, nil)
		s.same(byKey, account)
	}
}

func oneAccountByKey(s *suite) {
	first := s.account()
	again := s.newAccount()
	again.Key, again.Contact = first.Key, nil
	again.BindingID = "not even looked at"
	check := func() {
		stored, created, err := s.store.CreateAccount(s.ctx, again)
		s.is(err, nil)
		s.same(created, false)
		s.same(stored, first)
	}
	check()
	var err error
	first, err = s.store.CloseAccount(s.ctx, first.ID, store.AccountDeactivated, report("closed"))
	s.must(err)
	check()
	_, err = s.store.Account(s.ctx, again.ID)
	s.is(err, store.ErrNotFound)
}

func contactsAreReplaced(s *suite) {
	account := s.account()
	for _, contact := range [][]string{{"mailto:b@example.com", "mailto:c@example.com"}, nil} {
		account.Contact = contact
		changed, err := s.store.SetContact(s.ctx, account.ID, contact)
		s.is(err, nil)
		s.same(changed, account)
		stored, err := s.store.Account(s.ctx, account.ID)
		s.is(err, nil)
		s.same(stored, account)
	}
	_, err := s.store.CloseAccount(s.ctx, account.ID, store.AccountRevoked, report("closed"))
	s.must(err)
	_, err = s.store.SetContact(s.ctx, account.ID, nil)
	s.is(err, store.ErrNotValid)
	_, err = s.store.SetContact(s.ctx, s.id(), nil)
	s.is(err, store.ErrNotFound)
}

func keysChange(s *suite) {
	account := s.account()
	old, key := account.Key.Thumbprint, store.AccountKey{Thumbprint: "new key", JWK: []byte(`{"kty":"OKP"}`)}
	account.Key = key
	changed, err := s.store.ChangeKey(s.ctx, account.ID, old, key)
	s.is(err, nil)
	s.same(changed, account)
	found, err := s.store.AccountByKey(s.ctx, "new key")
	s.is(err, nil)
	s.same(found, account)
	_, err = s.store.AccountByKey(s.ctx, old)
	s.is(err, store.ErrNotFound)

	_, err = s.store.ChangeKey(s.ctx, account.ID, old, store.AccountKey{Thumbprint: "third", JWK: []byte("x")})
	s.is(err, store.ErrNotFound) // it no longer has that key
	_, err = s.store.ChangeKey(s.ctx, s.id(), "new key", key)
	s.is(err, store.ErrNotFound)
	_, err = s.store.CloseAccount(s.ctx, account.ID, store.AccountRevoked, report("closed"))
	s.must(err)
	_, err = s.store.ChangeKey(s.ctx, account.ID, "new key", store.AccountKey{Thumbprint: old, JWK: []byte("x")})
	s.is(err, store.ErrNotValid)
}

func keysInUse(s *suite) {
	account, other := s.account(), s.account()
	_, err := s.store.ChangeKey(s.ctx, account.ID, account.Key.Thumbprint, other.Key)
	s.is(err, store.ErrKeyInUse)
	if inUse, ok := errors.AsType[*store.KeyInUseError](err); !ok || inUse.HolderID != other.ID {
		s.Errorf("the error %v does not name the holder %s", err, other.ID)
	}
	stored, err := s.store.Account(s.ctx, account.ID)
	s.is(err, nil)
	s.same(stored, account)
}

func accountsClose(s *suite) {
	account := s.account()
	open := s.create(s.newOrder(account.ID, "open.example"))
	ready := s.prove(s.create(s.newOrder(account.ID, "ready.example")))
	processing := s.prove(s.create(s.newOrder(account.ID, "processing.example")))
	s.begin(processing)
	done := s.prove(s.create(s.newOrder(account.ID, "done.example")))
	s.issue(done)
	other := s.order("other.example")

	why := report("the account is closed")
	closed, err := s.store.CloseAccount(s.ctx, account.ID, store.AccountDeactivated, why)
	s.is(err, nil)
	account.Status = store.AccountDeactivated
	s.same(closed, account)
	for _, id := range []string{open.ID, ready.ID} {
		s.status(id, store.OrderInvalid)
		s.same(s.readOrder(id).Failure, why)
	}
	s.status(processing.ID, store.OrderProcessing)
	s.status(done.ID, store.OrderValid)
	s.status(other.ID, store.OrderPending)

	_, err = s.store.CloseAccount(s.ctx, account.ID, store.AccountRevoked, why)
	s.is(err, store.ErrNotValid)
	_, err = s.store.CloseAccount(s.ctx, s.id(), store.AccountRevoked, why)
	s.is(err, store.ErrNotFound)
	o := s.newOrder(account.ID, "late.example")
	_, _, err = s.store.CreateOrder(s.ctx, o, o.Authorizations)
	s.is(err, store.ErrNotValid)
	s.is(s.store.CreateAuthorization(s.ctx, s.newAuthorization(account.ID, dns("late.example"))), store.ErrNotValid)
}

func accountsAreListed(s *suite) {
	binding := s.newBinding()
	s.must(s.store.CreateBinding(s.ctx, binding))
	var all, bound []string
	for i := range 7 {
		account := s.newAccount()
		if i%2 == 0 {
			account.BindingID = binding.ID
			bound = append(bound, account.ID)
		}
		_, _, err := s.store.CreateAccount(s.ctx, account)
		s.must(err)
		all = append(all, account.ID)
	}
	s.same(s.accountPages(store.AccountQuery{Limit: 3}), descending(all))
	s.same(s.accountPages(store.AccountQuery{}), descending(all))
	s.same(s.accountPages(store.AccountQuery{Limit: 2, BindingID: binding.ID}), descending(bound))
	s.same(s.accountPages(store.AccountQuery{BindingID: "none"}), []string{})
}

// accountPages reads all pages of a query.
func (s *suite) accountPages(query store.AccountQuery) []string {
	s.Helper()
	return pages(s, query.Limit, accountID, func(last *store.Account) ([]store.Account, error) {
		if last != nil {
			query.Before = last.ID
		}
		return s.store.ListAccounts(s.ctx, query)
	})
}

// pages reads pages until one is empty, each after the last record of the one
// before.
func pages[T any](s *suite, limit int, id func(*T) string, next func(last *T) ([]T, error)) []string {
	s.Helper()
	all := []string{}
	var last *T
	for {
		page, err := next(last)
		s.must(err)
		if len(page) == 0 {
			return all
		}
		if limit > 0 && len(page) > limit {
			s.Fatalf("a page has %d records, the limit is %d", len(page), limit)
		}
		all = append(all, ids(page, id)...)
		last = &page[len(page)-1]
	}
}

func descending(list []string) []string {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, func(a, b string) int { return strings.Compare(b, a) })
	return sorted
}
