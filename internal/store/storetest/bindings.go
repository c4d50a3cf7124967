package storetest

import (
	"time"

	"chancery/internal/store"
)

func bindingTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"are kept as they were given": bindingsAreKept,
		"are listed without secrets":  bindingsAreListed,
		"are revoked once":            bindingsAreRevoked,
		"are used by new accounts":    bindingsAreUsed,
		"that are bad create nothing": badBindings,
		"are changed":                 bindingsAreChanged,
		"have so many accounts":       bindingsHaveSoManyAccounts,
	}
}

func (s *suite) newBinding() store.Binding {
	return store.Binding{ID: s.id(), Name: "for tests", Secret: make([]byte, 32), Created: s.now}
}

func (s *suite) bind(b store.Binding) store.Binding {
	s.Helper()
	s.must(s.store.CreateBinding(s.ctx, b))
	return b
}

func (s *suite) readBinding(id string) store.Binding {
	s.Helper()
	b, err := s.store.Binding(s.ctx, id)
	s.must(err)
	return b
}

func bindingsAreKept(s *suite) {
	full := s.newBinding()
	full.SingleUse, full.Expires = true, s.now.Add(time.Hour)
	full.Grant = store.Grant{
		Allow: []string{"*.a.example", "10.0.0.0/8"}, Deny: []string{"x.a.example"}, Preauthorize: []string{"*.a.example"},
		Profiles: []string{"tls-server"}, Labels: map[string]string{"team": "a"}, MaxAccounts: 5, MaxRate: "1000/h",
	}
	for _, b := range []store.Binding{s.newBinding(), full} {
		s.same(s.readBinding(s.bind(b).ID), b)
	}
	_, err := s.store.Binding(s.ctx, s.id())
	s.is(err, store.ErrNotFound)
	if s.store.CreateBinding(s.ctx, full) == nil {
		s.Error("two keys have the same id")
	}
}

func bindingsAreListed(s *suite) {
	list, err := s.store.ListBindings(s.ctx)
	s.is(err, nil)
	s.same(len(list), 0)
	older, newer := s.newBinding(), s.newBinding()
	older.Created = s.now.Add(-time.Hour)
	s.bind(newer)
	s.bind(older)
	newer.Secret, older.Secret = nil, nil
	list, err = s.store.ListBindings(s.ctx)
	s.is(err, nil)
	s.same(list, []store.Binding{newer, older})
}

func bindingsAreRevoked(s *suite) {
	b := s.bind(s.newBinding())
	s.is(s.store.RevokeBinding(s.ctx, b.ID, s.now), nil)
	b.Revoked = s.now
	s.same(s.readBinding(b.ID), b)
	s.is(s.store.RevokeBinding(s.ctx, b.ID, s.now.Add(time.Hour)), store.ErrRevoked)
	s.same(s.readBinding(b.ID), b)
	s.is(s.store.RevokeBinding(s.ctx, s.id(), s.now), store.ErrNotFound)
}

func bindingsAreUsed(s *suite) {
	b := s.newBinding()
	b.Expires = s.now.Add(time.Minute)
	s.bind(b)
	for uses := range 3 {
		account := s.newAccount()
		account.BindingID = b.ID
		_, created, err := s.store.CreateAccount(s.ctx, account)
		s.is(err, nil)
		s.same(created, true)
		b.UsedBy, b.Used, b.Uses = account.ID, s.now, uses+1
		s.same(s.readBinding(b.ID), b)

		_, created, err = s.store.CreateAccount(s.ctx, account) // found, not created: no use
		s.is(err, nil)
		s.same(created, false)
		s.same(s.readBinding(b.ID), b)
	}
}

func badBindings(s *suite) {
	used := s.newBinding()
	used.SingleUse = true
	s.bind(used)
	account := s.newAccount()
	account.BindingID = used.ID
	_, _, err := s.store.CreateAccount(s.ctx, account)
	s.must(err)
	revoked, expired := s.bind(s.newBinding()), s.newBinding()
	s.must(s.store.RevokeBinding(s.ctx, revoked.ID, s.now))
	expired.Expires = s.now
	s.bind(expired)
	for id, want := range map[string]error{
		used.ID: store.ErrUsed, revoked.ID: store.ErrRevoked, expired.ID: store.ErrExpired, s.id(): store.ErrNotFound,
	} {
		account := s.newAccount()
		account.BindingID = id
		_, created, err := s.store.CreateAccount(s.ctx, account)
		s.is(err, want)
		s.same(created, false)
		_, err = s.store.Account(s.ctx, account.ID)
		s.is(err, store.ErrNotFound)
	}
}

func bindingsAreChanged(s *suite) {
	b := s.newBinding()
	b.Grant = store.Grant{Allow: []string{"a.example"}, MaxAccounts: 1}
	s.bind(b)
	name, expires, labels, none := "renamed", s.now.Add(time.Hour), map[string]string{"team": "a"}, []string(nil)
	for _, change := range []store.BindingChange{{}, {Name: &name, Expires: &expires}, {Labels: &labels}, {Allow: &none}} {
		change.Apply(&b)
		changed, err := s.store.UpdateBinding(s.ctx, b.ID, change)
		s.is(err, nil)
		s.same(changed, b)
		s.same(s.readBinding(b.ID), b)
	}
	_, err := s.store.UpdateBinding(s.ctx, s.id(), store.BindingChange{})
	s.is(err, store.ErrNotFound)
	s.must(s.store.RevokeBinding(s.ctx, b.ID, s.now))
	_, err = s.store.UpdateBinding(s.ctx, b.ID, store.BindingChange{Name: &name})
	s.is(err, store.ErrRevoked)
}

func bindingsHaveSoManyAccounts(s *suite) {
	b := s.newBinding()
	b.Grant.MaxAccounts = 2
	s.bind(b)
	create := func() (store.Account, error) {
		account := s.newAccount()
		account.BindingID = b.ID
		stored, _, err := s.store.CreateAccount(s.ctx, account)
		return stored, err
	}
	first, err := create()
	s.is(err, nil)
	_, err = create()
	s.is(err, nil)
	_, err = create()
	s.is(err, store.ErrFull)
	_, err = s.store.CloseAccount(s.ctx, first.ID, store.AccountDeactivated, report("closed"))
	s.must(err)
	_, err = create() // in the place of the one that is closed
	s.is(err, nil)
	_, err = create()
	s.is(err, store.ErrFull)
	s.same(s.readBinding(b.ID).Uses, 3)
}
