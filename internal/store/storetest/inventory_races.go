package storetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"chancery/internal/store"
)

// raceInventory revokes certificates in overlapping bulks and one by one while
// others are issued and old ones removed. Each is revoked once, and counts and
// services agree with what is left.
func raceInventory(s *suite) {
	for round := range 10 {
		v := inventory{first: map[string]time.Time{}}
		var keys []store.CertificateKey
		for i := range 40 {
			c := s.certificate(func(c *store.Certificate) {
				c.Identifiers = append(c.Identifiers, dns(fmt.Sprintf("host%d.round%d.example", i/3, round)))
				c.NotAfter = s.now.Add(time.Duration(i-10) * time.Hour)
			})
			keys = append(keys, c.CertificateKey)
		}
		var mu sync.Mutex
		revoked := map[store.CertificateKey]int{}
		note := func(list []store.CertificateKey) {
			mu.Lock()
			defer mu.Unlock()
			for _, key := range list {
				revoked[key]++
			}
		}
		errs := race(5, func(i int) error {
			switch i {
			case 0, 1:
				list, err := s.store.RevokeAll(s.ctx, keys[i*10:i*10+30], store.Revocation{At: s.now, Reason: 1})
				note(list)
				return err
			case 2:
				return s.revokeEach(keys, note)
			case 3:
				_, err := s.store.Tidy(s.ctx, store.TidyCutoff{Certificates: s.now}, 1000)
				return err
			default:
				return s.issueSome(20)
			}
		})
		s.must(errors.Join(errs...))
		for key, times := range revoked {
			if times != 1 {
				s.Errorf("%s was revoked %d times", key.Serial, times)
			}
		}
		s.agrees(&v)
	}
}

// revokeEach revokes certificates one by one, as far as they are there and not
// revoked.
func (s *suite) revokeEach(keys []store.CertificateKey, note func([]store.CertificateKey)) error {
	for _, key := range keys {
		switch err := s.store.Revoke(s.ctx, key, store.Revocation{At: s.now, Reason: 4}); {
		case err == nil:
			note([]store.CertificateKey{key})
		case !errors.Is(err, store.ErrRevoked) && !errors.Is(err, store.ErrNotFound):
			return err
		}
	}
	return nil
}

// issueSome issues certificates of one service.
func (s *suite) issueSome(n int) error {
	for range n {
		intent := s.newIntent("")
		intent.Owner = store.Owner{}
		if err := s.store.BeginIssuance(s.ctx, intent); err != nil {
			return err
		}
		if err := s.store.CompleteIssuance(s.ctx, s.newCertificate(intent, "", "new.example")); err != nil {
			return err
		}
	}
	return nil
}

// agrees fills an inventory with all there is and compares the store's sums
// with it.
func (s *suite) agrees(v *inventory) {
	s.Helper()
	list, err := s.store.ListCertificates(s.ctx, store.CertificateQuery{Limit: 100_000})
	s.must(err)
	for i := range list {
		v.add(list[i])
	}
	counts, err := s.store.CountCertificates(s.ctx, "", "", s.now)
	s.must(err)
	s.same(counts, v.count("", "", s.now))
	services, err := s.store.ListServices(s.ctx, store.ServiceQuery{Limit: 100_000})
	s.must(err)
	want := v.services(&store.ServiceQuery{})
	s.same(len(services), len(want))
	for _, got := range services {
		expected := want[got.ID]
		expected.First = got.First // may be that of a certificate that is gone
		s.same(got, expected)
	}
}
