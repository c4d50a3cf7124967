package storetest

import (
	"time"

	"chancery/internal/identifier"
	"chancery/internal/store"
)

func serviceTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"follow their certificates":        servicesFollow,
		"end when they are revoked":        servicesEnd,
		"go with their last certificate":   servicesGo,
		"don't know abandoned ones":        servicesWithoutAbandoned,
		"are listed last seen first":       servicesAreListed,
		"have certificates that follow on": lineage,
	}
}

func names(list ...string) (ids []identifier.Identifier) {
	for _, name := range list {
		ids = append(ids, dns(name))
	}
	return ids
}

// issued is a stored certificate with these names that ends so much later.
func (s *suite) issued(lasts time.Duration, list ...string) store.Certificate {
	s.Helper()
	return s.certificate(func(c *store.Certificate) { c.Identifiers, c.NotAfter = names(list...), s.now.Add(lasts) })
}

func (s *suite) service(id string) store.Service {
	s.Helper()
	service, err := s.store.Service(s.ctx, id)
	s.must(err)
	return service
}

// servicesFollow checks that a service is a set of names, whatever their order.
func servicesFollow(s *suite) {
	first := s.issued(time.Hour, "b.example", "a.example")
	id := store.ServiceID(names("a.example", "b.example"))
	want := store.Service{
		ID: id, Identifiers: names("a.example", "b.example"), First: first.Issued, Last: first.Issued,
		Newest: first.CertificateKey, ValidUntil: first.NotAfter, Certificates: 1,
	}
	s.same(s.service(id), want)
	later := s.certificate(func(c *store.Certificate) {
		c.CertificateKey, c.Identifiers = s.key(s.now.Add(time.Hour)), names("a.example", "b.example", "a.example")
		c.Issued = s.now.Add(time.Hour)
	})
	s.issued(1000*time.Hour, "a.example")
	want.Last, want.Newest, want.ValidUntil, want.Certificates = later.Issued, later.CertificateKey, later.NotAfter, 2
	s.same(s.service(id), want)
	_, err := s.store.Service(s.ctx, store.ServiceID(names("b.example")))
	s.is(err, store.ErrNotFound)
	s.certificate(func(*store.Certificate) {}) // without names
	_, err = s.store.Service(s.ctx, store.ServiceID(nil))
	s.is(err, store.ErrNotFound)
}

func servicesEnd(s *suite) {
	short, long, middle := s.issued(time.Hour, "a.example"), s.issued(3*time.Hour, "a.example"), s.issued(2*time.Hour, "a.example")
	id := store.ServiceID(names("a.example"))
	for _, step := range []struct {
		revoke store.Certificate
		until  time.Time
	}{{short, long.NotAfter}, {long, middle.NotAfter}, {middle, time.Time{}}} {
		s.must(s.store.Revoke(s.ctx, step.revoke.CertificateKey, store.Revocation{At: s.now}))
		service := s.service(id)
		s.same(service.ValidUntil, step.until)
		s.same(service.Healthy(s.now), !step.until.IsZero())
		s.same(service.Certificates, 3)
	}
	again := s.issued(time.Hour, "a.example")
	s.same(s.service(id).ValidUntil, again.NotAfter)
}

func servicesGo(s *suite) {
	old := s.issued(-2*time.Hour, "a.example")
	kept := s.issued(-time.Hour, "a.example")
	id := store.ServiceID(names("a.example"))
	s.same(s.tidy(store.TidyCutoff{Certificates: old.NotAfter.Add(time.Millisecond)}), 1)
	service := s.service(id)
	s.same(service.Certificates, 1)
	s.same(service.Newest, kept.CertificateKey)
	s.same(s.tidy(store.TidyCutoff{Certificates: s.now}), 1)
	_, err := s.store.Service(s.ctx, id)
	s.is(err, store.ErrNotFound)
	for _, query := range []store.ServiceQuery{{}, {ID: id}, {Name: "a.example"}, {NamePart: "example"}, {NamePattern: "**"}} {
		list, err := s.store.ListServices(s.ctx, query)
		s.is(err, nil)
		s.same(len(list), 0)
	}
	s.issued(time.Hour, "a.example")
	s.same(s.service(id).Certificates, 1)
}

func servicesWithoutAbandoned(s *suite) {
	o := s.ready("a.example")
	intent := s.begin(o)
	s.must(s.store.AbandonIntent(s.ctx, intent.CertificateKey, s.now, nil, report("gone")))
	id := store.ServiceID(names("a.example"))
	_, err := s.store.Service(s.ctx, id)
	s.is(err, store.ErrNotFound)
	s.same(s.certificatePages(store.CertificateQuery{NamePart: "a.example"}), []string{intent.Serial.String()})
	c := s.issued(time.Hour, "a.example")
	s.same(s.service(id).Newest, c.CertificateKey)
	s.same(s.service(id).Certificates, 1)
}

func servicesAreListed(s *suite) {
	for _, name := range []string{"a.example", "b.example", "c.example"} {
		s.issued(time.Hour, name)
	}
	s.issued(time.Hour, "a.example")
	var got []string
	for query := (store.ServiceQuery{Limit: 1}); ; query.Before = got[len(got)-1] {
		list, err := s.store.ListServices(s.ctx, query)
		s.must(err)
		if len(list) == 0 {
			break
		}
		got = append(got, list[0].ID)
	}
	s.same(got, []string{store.ServiceID(names("c.example")), store.ServiceID(names("b.example")), store.ServiceID(names("a.example"))})
	s.issued(-time.Hour, "old.example")
	s.issued(2*time.Hour, "b.example")
	list, err := s.store.ListServices(s.ctx, store.ServiceQuery{ExpiresBefore: s.now.Add(24 * time.Hour), Limit: 1})
	s.is(err, nil)
	s.same(list[0].ID, store.ServiceID(names("b.example")))
	list, err = s.store.ListServices(s.ctx, store.ServiceQuery{ExpiresBefore: s.now.Add(24 * time.Hour), Before: list[0].ID, Limit: 1})
	s.is(err, nil)
	s.same(list[0].ID, store.ServiceID(names("c.example")))
	list, err = s.store.ListServices(s.ctx, store.ServiceQuery{Health: store.ServiceUnhealthy, Now: s.now})
	s.is(err, nil)
	s.same(len(list), 1)
	_, err = s.store.ListServices(s.ctx, store.ServiceQuery{Before: store.ServiceID(names("d.example"))})
	s.is(err, store.ErrNotFound)
}

func lineage(s *suite) {
	first := s.issued(time.Hour, "a.example")
	_, err := s.store.ReplacedBy(s.ctx, first.CertificateKey)
	s.is(err, store.ErrNotFound)
	for i := range 3 {
		next := s.certificate(func(c *store.Certificate) {
			c.CertificateKey, c.Replaces = s.key(s.now.Add(time.Duration(i)*time.Second)), &first.CertificateKey
		})
		by, err := s.store.ReplacedBy(s.ctx, first.CertificateKey)
		s.is(err, nil)
		s.same(by, next.CertificateKey)
		s.same(s.readCertificate(next.CertificateKey).Replaces, &first.CertificateKey)
	}
}
