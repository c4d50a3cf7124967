package storetest

import (
	"math/bits"
	"slices"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/serial"
	"chancery/internal/store"
)

func certificateTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"are kept as they were given": certificatesAreKept,
		"are known by issuer, serial": certificatesByIssuer,
		"are revoked once":            certificatesAreRevoked,
		"have issuers, kept for ever": issuersAreKept,
		"are counted while they hold": unexpiredAreCounted,
	}
}

// certificate is a stored certificate that begins as c.
func (s *suite) certificate(change func(*store.Certificate)) store.Certificate {
	s.Helper()
	c := s.newCertificate(s.newIntent(""), "")
	change(&c)
	return s.record(c)
}

func certificatesAreKept(s *suite) {
	full := s.certificate(func(c *store.Certificate) {
		c.AccountID = s.id()
		c.Identifiers = []identifier.Identifier{dns("a.example"), {Type: identifier.IP, Value: "10.0.0.1"}, dns("a.example")}
		c.NotAfter = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	})
	s.same(s.readCertificate(full.CertificateKey), full)
	bare := s.record(store.Certificate{CertificateKey: s.key(s.now), DER: []byte{0}, NotBefore: s.now, NotAfter: s.now, Issued: s.now})
	s.same(s.readCertificate(bare.CertificateKey), bare)
}

func certificatesByIssuer(s *suite) {
	one := s.certificate(func(*store.Certificate) {})
	two := s.certificate(func(c *store.Certificate) { c.Serial, c.IssuerID = one.Serial, "another" })
	s.same(s.readCertificate(one.CertificateKey), one)
	s.same(s.readCertificate(two.CertificateKey), two)
	for _, key := range []store.CertificateKey{s.key(s.now), {IssuerID: "a third", Serial: one.Serial}, {}} {
		_, err := s.store.Certificate(s.ctx, key)
		s.is(err, store.ErrNotFound)
	}
}

func certificatesAreRevoked(s *suite) {
	c, other := s.certificate(func(*store.Certificate) {}), s.certificate(func(*store.Certificate) {})
	c.Revocation = &store.Revocation{At: s.now.Add(time.Second), Reason: 1}
	s.is(s.store.Revoke(s.ctx, c.CertificateKey, *c.Revocation), nil)
	s.same(s.readCertificate(c.CertificateKey), c)
	s.is(s.store.Revoke(s.ctx, c.CertificateKey, store.Revocation{At: s.now, Reason: 4}), store.ErrRevoked)
	s.same(s.readCertificate(c.CertificateKey), c)
	s.same(s.readCertificate(other.CertificateKey), other)
	s.is(s.store.Revoke(s.ctx, s.key(s.now), *c.Revocation), store.ErrNotFound)
}

func issuersAreKept(s *suite) {
	list, err := s.store.Issuers(s.ctx)
	s.is(err, nil)
	s.same(len(list), 0)
	one := store.Issuer{ID: "01", SubjectKeyID: []byte{1}, Chain: [][]byte{{1, 2}, {3}}, Alternates: [][][]byte{{{5}, {6}}, {{7}}}}
	two := store.Issuer{ID: "02", SubjectKeyID: []byte{2}, Chain: [][]byte{{4}}}
	for _, issuer := range []store.Issuer{two, one, one} {
		s.is(s.store.RegisterIssuer(s.ctx, issuer), nil)
	}
	list, err = s.store.Issuers(s.ctx)
	s.is(err, nil)
	s.same(list, []store.Issuer{one, two})
}

func unexpiredAreCounted(s *suite) {
	issuer := s.certificate(func(*store.Certificate) {}).IssuerID
	s.certificate(func(c *store.Certificate) { c.IssuerID = "another" })
	s.certificate(func(c *store.Certificate) { c.NotAfter = s.now })
	last := s.certificate(func(c *store.Certificate) { c.NotAfter = s.now.Add(1000 * time.Hour) })
	count, end, err := s.store.Unexpired(s.ctx, issuer, s.now)
	s.is(err, nil)
	s.same(count, 2)
	s.same(end, last.NotAfter)
	count, end, err = s.store.Unexpired(s.ctx, "a third", s.now)
	s.is(err, nil)
	s.same(count, 0)
	s.same(end, time.Time{})
}

func listingTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"comes newest first, in pages": listingInPages,
		"selects by each question":     listingSelects,
		"selects by all at once":       listingCombines,
		"selects by status":            listingByStatus,
		"pages through equal serials":  listingEqualSerials,
	}
}

func (s *suite) certificatePages(query store.CertificateQuery) []string {
	s.Helper()
	return pages(s, query.Limit, serialOf, func(last *store.Certificate) ([]store.Certificate, error) {
		if last != nil {
			query.Before = &last.CertificateKey
		}
		return s.store.ListCertificates(s.ctx, query)
	})
}

func serials(list ...store.Certificate) []string { return descending(ids(list, serialOf)) }

func listingInPages(s *suite) {
	s.same(s.certificatePages(store.CertificateQuery{}), []string{})
	var all []store.Certificate
	for i := range 7 {
		all = append(all, s.certificate(func(c *store.Certificate) { c.CertificateKey = s.key(s.now.Add(time.Duration(-i) * time.Hour)) }))
	}
	for _, limit := range []int{0, 1, 3, 7, 100} {
		s.same(s.certificatePages(store.CertificateQuery{Limit: limit}), serials(all...))
	}
	list, err := s.store.ListCertificates(s.ctx, store.CertificateQuery{Limit: 1})
	s.is(err, nil)
	s.same(list, all[:1])
}

// twoSpecial are two certificates that have much in common, and little with the
// three others that are there.
func (s *suite) twoSpecial() (special, second store.Certificate) {
	account := s.id()
	special = s.certificate(func(c *store.Certificate) {
		c.AccountID, c.Profile, c.NotAfter = account, "shortlived", s.now.Add(time.Minute)
		c.Identifiers = []identifier.Identifier{dns("x.example"), dns("special.example")}
		c.Requester, c.Subject, c.KeyHash = "token:ci/app", "O=Corp", [32]byte{1}
		c.Replaces = &store.CertificateKey{IssuerID: "other", Serial: serial.Number{1}}
	})
	second = s.certificate(func(c *store.Certificate) {
		c.AccountID, c.Profile, c.NotAfter = account, "shortlived", s.now.Add(time.Minute)
		c.Identifiers = []identifier.Identifier{dns("special.example")}
		c.IssuerID, c.Requester, c.Issued = "another", "token:ci/db", s.now.Add(-time.Hour)
	})
	for range 3 {
		s.certificate(func(c *store.Certificate) {
			c.Identifiers = []identifier.Identifier{dns("x.example")}
			c.AccountID = s.id()
		})
	}
	return special, second
}

func listingSelects(s *suite) {
	special, second := s.twoSpecial()
	account := special.AccountID
	both := serials(special, second)
	for name, test := range map[string]struct {
		query store.CertificateQuery
		want  []string
	}{
		"name":            {store.CertificateQuery{Name: "special.example"}, both},
		"account":         {store.CertificateQuery{AccountID: account}, both},
		"profile":         {store.CertificateQuery{Profile: "shortlived"}, both},
		"expiry":          {store.CertificateQuery{ExpiresBefore: s.now.Add(time.Hour)}, both},
		"expiry at":       {store.CertificateQuery{ExpiresBefore: s.now.Add(time.Minute)}, []string{}},
		"serial":          {store.CertificateQuery{Serial: &special.Serial}, serials(special)},
		"fingerprint":     {store.CertificateQuery{Fingerprint: &special.Fingerprint}, serials(special)},
		"key hash":        {store.CertificateQuery{KeyHash: &special.KeyHash}, serials(special)},
		"replaced":        {store.CertificateQuery{Replaces: special.Replaces}, serials(special)},
		"subject":         {store.CertificateQuery{Subject: "O=Corp"}, serials(special)},
		"requester":       {store.CertificateQuery{Requester: "token:ci/app"}, serials(special)},
		"provisioner":     {store.CertificateQuery{Requester: "token:ci/"}, both},
		"door":            {store.CertificateQuery{Requester: "token:"}, both},
		"issuer":          {store.CertificateQuery{IssuerID: "another"}, serials(second)},
		"issued":          {store.CertificateQuery{IssuedAfter: s.now.Add(-time.Hour), IssuedBefore: s.now}, serials(second)},
		"expires":         {store.CertificateQuery{ExpiresAfter: s.now, ExpiresBefore: s.now.Add(time.Hour)}, both},
		"part":            {store.CertificateQuery{NamePart: "special"}, both},
		"end":             {store.CertificateQuery{NamePart: "cial.ex"}, both},
		"pattern":         {store.CertificateQuery{NamePattern: "*.example", Profile: "shortlived"}, both},
		"deep pattern":    {store.CertificateQuery{NamePattern: "**.example", Profile: "shortlived"}, both},
		"service":         {store.CertificateQuery{ServiceID: store.ServiceID([]identifier.Identifier{dns("special.example"), dns("x.example")})}, serials(special)},
		"no such part":    {store.CertificateQuery{NamePart: "specially"}, []string{}},
		"short part":      {store.CertificateQuery{NamePart: "sp"}, []string{}},
		"no such pattern": {store.CertificateQuery{NamePattern: "*.special.example"}, []string{}},
		"no provisioner":  {store.CertificateQuery{Requester: "token:c/"}, []string{}},
		"no such service": {store.CertificateQuery{ServiceID: "00"}, []string{}},
		"no such name":    {store.CertificateQuery{Name: "special"}, []string{}},
		"no such account": {store.CertificateQuery{AccountID: s.id()}, []string{}},
		"no such profile": {store.CertificateQuery{Profile: "none"}, []string{}},
		"no such serial":  {store.CertificateQuery{Serial: &serial.Number{}}, []string{}},
		"no fingerprint":  {store.CertificateQuery{Fingerprint: &[32]byte{}}, []string{}},
	} {
		for _, limit := range []int{0, 1} {
			test.query.Limit = limit
			if got := s.certificatePages(test.query); dump(got) != dump(test.want) {
				s.Errorf("by %s, limit %d: got %v, want %v", name, limit, got, test.want)
			}
		}
	}
}

// listingCombines asks every combination of questions about one certificate,
// and the smaller ones also with a question that it does not fit.
func listingCombines(s *suite) {
	c := s.certificate(func(c *store.Certificate) {
		c.AccountID, c.Identifiers = s.id(), []identifier.Identifier{dns("a.example")}
	})
	later := s.certificate(func(l *store.Certificate) {
		l.CertificateKey, l.NotAfter = s.key(s.now.Add(time.Hour)), c.NotAfter.Add(time.Hour)
	})
	questions := []func(q *store.CertificateQuery, fits bool){
		func(q *store.CertificateQuery, fits bool) { q.Name = pick(fits, "a.example", "b.example") },
		func(q *store.CertificateQuery, fits bool) { q.AccountID = pick(fits, c.AccountID, "nobody") },
		func(q *store.CertificateQuery, fits bool) { q.Profile = pick(fits, c.Profile, "none") },
		func(q *store.CertificateQuery, fits bool) { q.Serial = pick(fits, &c.Serial, &serial.Number{}) },
		func(q *store.CertificateQuery, fits bool) { q.Fingerprint = pick(fits, &c.Fingerprint, &[32]byte{}) },
		func(q *store.CertificateQuery, fits bool) {
			q.ExpiresBefore = c.NotAfter.Add(pick(fits, time.Second, -time.Second))
		},
		func(q *store.CertificateQuery, fits bool) {
			q.Status, q.Now = pick(fits, store.CertificateGood, store.CertificateRevoked), s.now
		},
		func(q *store.CertificateQuery, fits bool) {
			q.Before = pick(fits, &later.CertificateKey, &c.CertificateKey)
		},
	}
	for set := range 1 << len(questions) {
		for wrong := -1; wrong < len(questions); wrong++ {
			if wrong >= 0 && (set&(1<<wrong) == 0 || bits.OnesCount(uint(set)) > 3) {
				continue
			}
			var query store.CertificateQuery
			for i, ask := range questions {
				if set&(1<<i) != 0 {
					ask(&query, i != wrong)
				}
			}
			list, err := s.store.ListCertificates(s.ctx, query)
			found := slices.ContainsFunc(list, func(l store.Certificate) bool { return l.CertificateKey == c.CertificateKey })
			if err != nil || found != (wrong < 0) {
				s.Fatalf("%s: found is %t, %v", dump(query), found, err)
			}
		}
	}
}

func pick[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

func listingByStatus(s *suite) {
	good := s.certificate(func(*store.Certificate) {})
	last := s.certificate(func(c *store.Certificate) { c.NotAfter = s.now })
	expired := s.certificate(func(c *store.Certificate) { c.NotAfter = s.now.Add(-time.Millisecond) })
	revoked := s.certificate(func(c *store.Certificate) { c.NotAfter = s.now.Add(-time.Hour) })
	s.must(s.store.Revoke(s.ctx, revoked.CertificateKey, store.Revocation{At: s.now, Reason: 0}))
	intent := s.begin(s.ready("a.example"))
	s.must(s.store.AbandonIntent(s.ctx, intent.CertificateKey, s.now, nil, report("gone")))
	for status, want := range map[store.CertificateStatus][]string{
		store.CertificateGood:      serials(good, last),
		store.CertificateExpired:   serials(expired),
		store.CertificateRevoked:   serials(revoked),
		store.CertificateAbandoned: {intent.Serial.String()},
		"unknown":                  {},
	} {
		s.same(s.certificatePages(store.CertificateQuery{Status: status, Now: s.now, Limit: 1}), want)
		list, err := s.store.ListCertificates(s.ctx, store.CertificateQuery{Status: status, Now: s.now})
		s.is(err, nil)
		for i := range list {
			s.same(list[i].Status(s.now), status)
		}
	}
}

func listingEqualSerials(s *suite) {
	one := s.certificate(func(c *store.Certificate) { c.Identifiers = []identifier.Identifier{dns("a.example")} })
	for _, issuer := range []string{"a", "b", "c"} {
		s.certificate(func(c *store.Certificate) {
			c.Serial, c.IssuerID, c.Identifiers = one.Serial, issuer, one.Identifiers
		})
	}
	for _, query := range []store.CertificateQuery{{Limit: 1}, {Limit: 1, Name: "a.example"}, {Limit: 3, Serial: &one.Serial}} {
		s.same(len(s.certificatePages(query)), 4)
	}
}
