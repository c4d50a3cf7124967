package storetest

import (
	"time"

	"chancery/internal/store"
)

func orderTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"are kept as they were given":         ordersAreKept,
		"share proven authorizations":         ordersShareAuthorizations,
		"follow their authorizations":         ordersFollow,
		"fail only while they can":            ordersFail,
		"of unknown accounts are refused":     ordersOfNobody,
		"are listed newest first, by account": ordersAreListed,
	}
}

func ordersAreKept(s *suite) {
	account := s.account()
	full := s.newOrder(account.ID, "a.example", "*.b.example")
	full.NotBefore, full.NotAfter = s.now.Add(time.Hour), s.now.Add(2*time.Hour)
	replaced := s.key(s.now)
	full.Replaces = &replaced
	for _, o := range []store.Order{full, s.newOrder(account.ID, "c.example"), s.newOrder(account.ID)} {
		s.same(s.create(o).ID, o.ID)
		stored := s.readOrder(o.ID)
		s.same(stored.Authorizations, o.Authorizations)
		s.same(len(stored.AuthorizationIDs), len(o.AuthorizationIDs))
		stored.AuthorizationIDs, stored.Authorizations = o.AuthorizationIDs, o.Authorizations
		s.same(stored, o)
	}
	_, err := s.store.Order(s.ctx, s.id())
	s.is(err, store.ErrNotFound)
}

func ordersShareAuthorizations(s *suite) {
	first := s.ready("shared.example")
	second := s.newOrder(first.AccountID, "fresh.example")
	fresh := second.Authorizations
	second.Authorizations = append([]store.Authorization{first.Authorizations[0]}, fresh...)
	stored, created, err := s.store.CreateOrder(s.ctx, second, fresh)
	s.is(err, nil)
	s.same(created, true)
	s.same(ids(stored.Authorizations, authzID), []string{first.AuthorizationIDs[0], fresh[0].ID})
	read := s.readOrder(second.ID)
	s.same(read.AuthorizationIDs, []string{first.AuthorizationIDs[0], fresh[0].ID})
	s.same(read.Authorizations, second.Authorizations)

	_, err = s.store.DeactivateAuthorization(s.ctx, first.AuthorizationIDs[0])
	s.must(err)
	s.status(first.ID, store.OrderInvalid)
	s.status(second.ID, store.OrderInvalid)
}

func ordersFollow(s *suite) {
	o := s.order("a.example", "b.example")
	s.status(o.ID, store.OrderPending)
	s.must(s.store.FinishAuthorization(s.ctx, o.AuthorizationIDs[0], s.proven()))
	s.status(o.ID, store.OrderPending)
	s.must(s.store.FinishAuthorization(s.ctx, o.AuthorizationIDs[1], s.proven()))
	s.status(o.ID, store.OrderReady)
	s.begin(o)
	s.status(o.ID, store.OrderProcessing)

	o = s.order("a.example", "b.example")
	s.must(s.store.FinishAuthorization(s.ctx, o.AuthorizationIDs[0], s.failed()))
	s.status(o.ID, store.OrderInvalid)
}

func ordersFail(s *suite) {
	pending, ready := s.order("pending.example"), s.ready("ready.example")
	for _, id := range []string{pending.ID, ready.ID} {
		s.is(s.store.FailOrder(s.ctx, id, report("first")), nil)
		s.same(s.readOrder(id).Failure, report("first"))
		s.is(s.store.FailOrder(s.ctx, id, report("second")), nil)
		s.same(s.readOrder(id).Failure, report("first"))
	}
	processing, valid, refused := s.ready("processing.example"), s.ready("valid.example"), s.order("refused.example")
	s.begin(processing)
	s.issue(valid)
	s.must(s.store.FinishAuthorization(s.ctx, refused.AuthorizationIDs[0], s.failed()))
	expired := s.newOrder(pending.AccountID, "expired.example")
	expired.Expires = s.now.Add(-time.Second)
	s.create(expired)
	for _, id := range []string{processing.ID, valid.ID, refused.ID, expired.ID} {
		before := s.readOrder(id)
		s.is(s.store.FailOrder(s.ctx, id, report("late")), nil)
		s.same(s.readOrder(id), before)
	}
	s.is(s.store.FailOrder(s.ctx, s.id(), report("none")), store.ErrNotFound)
}

func ordersOfNobody(s *suite) {
	o := s.newOrder(s.id(), "a.example")
	_, _, err := s.store.CreateOrder(s.ctx, o, o.Authorizations)
	s.is(err, store.ErrNotFound)
	_, err = s.store.Order(s.ctx, o.ID)
	s.is(err, store.ErrNotFound)
	_, err = s.store.Authorization(s.ctx, o.AuthorizationIDs[0])
	s.is(err, store.ErrNotFound)
	s.is(s.store.CreateAuthorization(s.ctx, o.Authorizations[0]), store.ErrNotFound)
}

func ordersAreListed(s *suite) {
	one, two := s.account(), s.account()
	var all, ofOne []string
	for i := range 7 {
		account := one
		if i%2 == 1 {
			account = two
		}
		o := s.create(s.newOrder(account.ID, "a.example"))
		all = append(all, o.ID)
		if account.ID == one.ID {
			ofOne = append(ofOne, o.ID)
		}
	}
	s.same(s.orderPages(store.OrderQuery{Limit: 3}), descending(all))
	s.same(s.orderPages(store.OrderQuery{}), descending(all))
	s.same(s.orderPages(store.OrderQuery{Limit: 2, AccountID: one.ID}), descending(ofOne))
	s.same(s.orderPages(store.OrderQuery{AccountID: s.id()}), []string{})
	list, err := s.store.ListOrders(s.ctx, store.OrderQuery{Limit: 1})
	s.must(err)
	s.same(list[0], s.readOrder(list[0].ID))
}

func (s *suite) orderPages(query store.OrderQuery) []string {
	s.Helper()
	return pages(s, query.Limit, orderID, func(last *store.Order) ([]store.Order, error) {
		if last != nil {
			query.Before = last.ID
		}
		return s.store.ListOrders(s.ctx, query)
	})
}

func replacesTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"gives a retry the order it began":    replacesRetried,
		"refuses what is another order":       replacesRefused,
		"frees the certificate after failure": replacesFreed,
		"has an answer":                       replacementIsFound,
	}
}

// newReplacing is an order that replaces a certificate.
func (s *suite) newReplacing(accountID string, key store.CertificateKey, names ...string) store.Order {
	o := s.newOrder(accountID, names...)
	o.Replaces = &key
	return o
}

func replacesRetried(s *suite) {
	account, key := s.account(), s.key(s.now)
	first := s.create(s.newReplacing(account.ID, key, "a.example", "b.example"))
	retry := func() {
		s.Helper()
		again := s.newReplacing(account.ID, key, "b.example", "a.example")
		stored, created, err := s.store.CreateOrder(s.ctx, again, again.Authorizations)
		s.is(err, nil)
		s.same(created, false)
		s.same(stored, s.readOrder(first.ID))
		_, err = s.store.Order(s.ctx, again.ID)
		s.is(err, store.ErrNotFound)
		_, err = s.store.Authorization(s.ctx, again.AuthorizationIDs[0])
		s.is(err, store.ErrNotFound)
	}
	retry()
	s.prove(first)
	retry()
	s.begin(first)
	retry()
}

func replacesRefused(s *suite) {
	account, key := s.account(), s.key(s.now)
	first := s.create(s.newReplacing(account.ID, key, "a.example"))
	otherProfile := s.newReplacing(account.ID, key, "a.example")
	otherProfile.Profile = "shortlived"
	refuse := func(o store.Order) {
		s.Helper()
		_, created, err := s.store.CreateOrder(s.ctx, o, o.Authorizations)
		s.is(err, store.ErrReplaced)
		s.same(created, false)
		_, err = s.store.Order(s.ctx, o.ID)
		s.is(err, store.ErrNotFound)
	}
	refuse(otherProfile)
	refuse(s.newReplacing(account.ID, key, "a.example", "b.example"))
	refuse(s.newReplacing(s.account().ID, key, "a.example"))
	s.issue(s.prove(first))
	refuse(s.newReplacing(account.ID, key, "a.example"))

	otherIssuer := key
	otherIssuer.IssuerID = "another"
	s.create(s.newReplacing(account.ID, otherIssuer, "a.example"))
}

func replacesFreed(s *suite) {
	account, key := s.account(), s.key(s.now)
	first := s.create(s.newReplacing(account.ID, key, "a.example"))
	s.must(s.store.FailOrder(s.ctx, first.ID, report("failed")))
	second := s.create(s.newReplacing(account.ID, key, "a.example"))
	s.must(s.store.FinishAuthorization(s.ctx, second.AuthorizationIDs[0], s.failed()))
	third := s.newReplacing(account.ID, key, "a.example")
	third.Expires = s.now.Add(time.Minute)
	s.create(third)
	fourth := s.newReplacing(account.ID, key, "a.example")
	fourth.Created = s.now.Add(time.Minute) // when the third is expired
	s.create(fourth)
}

func replacementIsFound(s *suite) {
	account, key := s.account(), s.key(s.now)
	_, err := s.store.Replacement(s.ctx, key, s.now)
	s.is(err, store.ErrNotFound)
	o := s.create(s.newReplacing(account.ID, key, "a.example"))
	id, err := s.store.Replacement(s.ctx, key, s.now)
	s.is(err, nil)
	s.same(id, o.ID)
	_, err = s.store.Replacement(s.ctx, key, o.Expires)
	s.is(err, store.ErrNotFound)
	s.issue(s.prove(o))
	id, err = s.store.Replacement(s.ctx, key, o.Expires)
	s.is(err, nil)
	s.same(id, o.ID)
}
