package storetest

import (
	"time"

	"chancery/internal/identifier"
	"chancery/internal/store"
)

func tidyTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"removes what ended and keeps the rest": tidyRemoves,
		"keeps all without a cutoff":            tidyKeeps,
		"keeps authorizations of orders":        tidyKeepsListed,
		"keeps to its limit":                    tidyLimit,
		"removes certificates and their names":  tidyCertificates,
	}
}

func (s *suite) tidy(cutoff store.TidyCutoff) int {
	s.Helper()
	n, err := s.store.Tidy(s.ctx, cutoff, 1000)
	s.must(err)
	return n
}

func (s *suite) gone(id string) {
	s.Helper()
	if _, err := s.store.Order(s.ctx, id); err == nil {
		s.Errorf("the order %s is still there", id)
	}
}

func tidyRemoves(s *suite) {
	account := s.account()
	ended, kept := s.create(s.newOrder(account.ID, "a.example")), s.newOrder(account.ID, "b.example")
	kept.Expires = ended.Expires.Add(time.Millisecond)
	s.create(kept)
	processing, valid := s.prove(s.create(s.newOrder(account.ID, "c.example"))), s.prove(s.create(s.newOrder(account.ID, "d.example")))
	s.begin(processing)
	c := s.issue(valid)
	cutoff := ended.Expires.Add(time.Millisecond)
	s.same(s.tidy(store.TidyCutoff{Orders: cutoff}), 2)
	s.gone(ended.ID)
	s.gone(valid.ID)
	s.same(s.readOrder(kept.ID).ID, kept.ID)
	s.same(s.readOrder(processing.ID).ID, processing.ID)
	s.same(s.readCertificate(c.CertificateKey), c)
	s.same(s.tidy(store.TidyCutoff{Orders: cutoff}), 0)
}

func tidyKeeps(s *suite) {
	o := s.ready("a.example")
	c := s.issue(o)
	s.same(s.tidy(store.TidyCutoff{}), 0)
	far := s.now.Add(1000 * time.Hour)
	s.same(s.tidy(store.TidyCutoff{Authorizations: far}), 0)
	s.same(s.tidy(store.TidyCutoff{Certificates: far}), 1)
	s.same(s.readOrder(o.ID).ID, o.ID)
	_, err := s.store.Certificate(s.ctx, c.CertificateKey)
	s.is(err, store.ErrNotFound)
}

func tidyKeepsListed(s *suite) {
	account := s.account()
	first := s.prove(s.create(s.newOrder(account.ID, "shared.example", "own.example")))
	second := s.newOrder(account.ID)
	second.Expires = s.now.Add(24 * time.Hour)
	second.Authorizations = first.Authorizations[:1]
	_, _, err := s.store.CreateOrder(s.ctx, second, nil)
	s.must(err)
	alone := s.authorization(account.ID, dns("alone.example"))

	far := s.now.Add(12 * time.Hour)
	s.same(s.tidy(store.TidyCutoff{Authorizations: far}), 1)
	_, err = s.store.Authorization(s.ctx, alone.ID)
	s.is(err, store.ErrNotFound)
	s.same(s.tidy(store.TidyCutoff{Authorizations: far, Orders: far}), 2) // the first order and its own authorization
	s.gone(first.ID)
	s.same(s.readOrder(second.ID).Authorizations, second.Authorizations)
	_, err = s.store.Authorization(s.ctx, first.AuthorizationIDs[1])
	s.is(err, store.ErrNotFound)
	further := s.now.Add(48 * time.Hour)
	s.same(s.tidy(store.TidyCutoff{Authorizations: further, Orders: further}), 2)
	_, err = s.store.Authorization(s.ctx, first.AuthorizationIDs[0])
	s.is(err, store.ErrNotFound)
}

func tidyLimit(s *suite) {
	account := s.account()
	for range 250 {
		s.create(s.newOrder(account.ID, "a.example"))
	}
	far := s.now.Add(24 * time.Hour)
	total := 0
	for _, limit := range []int{1, 120, 0} {
		n, err := s.store.Tidy(s.ctx, store.TidyCutoff{Orders: far}, limit)
		s.is(err, nil)
		s.same(n, limit)
		total += n
	}
	n, err := s.store.Tidy(s.ctx, store.TidyCutoff{Orders: far, Authorizations: far}, 1000)
	s.is(err, nil)
	s.same(total+n, 500)
	s.same(s.orderPages(store.OrderQuery{}), []string{})
}

func tidyCertificates(s *suite) {
	names := []identifier.Identifier{dns("a.example"), dns("b.example")}
	old := s.certificate(func(c *store.Certificate) { c.Identifiers, c.NotAfter = names, s.now.Add(-time.Hour) })
	kept := s.certificate(func(c *store.Certificate) { c.Identifiers = names })
	s.same(s.tidy(store.TidyCutoff{Certificates: s.now}), 1)
	_, err := s.store.Certificate(s.ctx, old.CertificateKey)
	s.is(err, store.ErrNotFound)
	for _, query := range []store.CertificateQuery{{}, {Name: "a.example"}, {Name: "b.example"}} {
		s.same(s.certificatePages(query), serials(kept))
	}
}
