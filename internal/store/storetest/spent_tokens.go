package storetest

import (
	"errors"
	"time"

	"chancery/internal/store"
)

func tokenTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"are spent with the intent":              tokensAreSpent,
		"stay spent after the certificate":       tokensStaySpent,
		"are free again when nothing came of it": tokensAreFreed,
		"stay spent while it goes on":            tokensStayClaimed,
		"are forgotten after their time":         tokensAreForgotten,
	}
}

// newTokenIntent is an intent that spends a one-time token.
func (s *suite) newTokenIntent(id string) store.Intent {
	s.Helper()
	i := s.newIntent("")
	i.Owner, i.OwnerExpires = store.Owner{Kind: store.OwnerToken, ID: id}, s.now.Add(time.Minute)
	return i
}

func (s *suite) spend(id string) store.Intent {
	s.Helper()
	i := s.newTokenIntent(id)
	s.must(s.store.BeginIssuance(s.ctx, i))
	return i
}

func tokensAreSpent(s *suite) {
	first, second := s.spend("ci/1"), s.spend("ci/2")
	s.same(s.intents(s.now.Add(time.Hour), 10), inOrder(first, second))
	for _, id := range []string{"ci/1", "ci/2"} {
		s.is(s.store.BeginIssuance(s.ctx, s.newTokenIntent(id)), store.ErrUsed)
	}
	s.same(s.intents(s.now.Add(time.Hour), 10), inOrder(first, second))
}

// inOrder is a list of intents that began at the same moment, as it is listed.
func inOrder(a, b store.Intent) []store.Intent {
	if a.Serial.String() > b.Serial.String() {
		return []store.Intent{b, a}
	}
	return []store.Intent{a, b}
}

func tokensStaySpent(s *suite) {
	i := s.spend("ci/1")
	c := s.newCertificate(i, "", "a.example")
	s.must(s.store.CompleteIssuance(s.ctx, c))
	s.same(s.readCertificate(c.CertificateKey).Owner, i.Owner)
	s.is(s.store.BeginIssuance(s.ctx, s.newTokenIntent("ci/1")), store.ErrUsed)
}

func tokensAreFreed(s *suite) {
	i := s.spend("ci/1")
	s.spend("ci/2")
	s.must(s.store.AbandonIntent(s.ctx, i.CertificateKey, s.now, nil, report("gone")))
	s.same(s.readCertificate(i.CertificateKey).Owner, i.Owner)
	s.is(s.store.AbandonIntent(s.ctx, i.CertificateKey, s.now, nil, report("gone")), store.ErrNotFound)
	again := s.spend("ci/1")
	s.is(s.store.AbandonIntent(s.ctx, i.CertificateKey, s.now, nil, report("gone")), store.ErrNotFound)
	for _, id := range []string{"ci/1", "ci/2"} {
		s.is(s.store.BeginIssuance(s.ctx, s.newTokenIntent(id)), store.ErrUsed)
	}
	s.is(s.store.CompleteIssuance(s.ctx, s.newCertificate(again, "")), nil)
}

func tokensStayClaimed(s *suite) {
	i, next := s.spend("ci/1"), s.newTokenIntent("ci/1")
	s.must(s.store.AbandonIntent(s.ctx, i.CertificateKey, s.now, &next, report("once more")))
	s.same(s.intents(s.now.Add(time.Hour), 10), []store.Intent{next})
	s.is(s.store.BeginIssuance(s.ctx, s.newTokenIntent("ci/1")), store.ErrUsed)
	s.must(s.store.AbandonIntent(s.ctx, next.CertificateKey, s.now, nil, report("gone")))
	s.is(s.store.BeginIssuance(s.ctx, s.newTokenIntent("ci/1")), nil)
}

func tokensAreForgotten(s *suite) {
	for id, expires := range map[string]time.Time{
		"past": s.now.Add(-time.Millisecond), "now": s.now, "later": s.now.Add(time.Minute), "never": {},
	} {
		i := s.newTokenIntent(id)
		i.OwnerExpires = expires
		s.must(s.store.BeginIssuance(s.ctx, i))
	}
	left := func() (list []string) {
		for _, id := range []string{"past", "now", "later", "never"} {
			i := s.newTokenIntent(id)
			if err := s.store.BeginIssuance(s.ctx, i); errors.Is(err, store.ErrUsed) {
				list = append(list, id)
			} else {
				s.must(err)
				s.must(s.store.AbandonIntent(s.ctx, i.CertificateKey, s.now, nil, nil))
			}
		}
		return list
	}
	s.same(s.tidy(store.TidyCutoff{}), 0)
	s.same(s.tidy(store.TidyCutoff{Tokens: s.now}), 1)
	s.same(left(), []string{"now", "later", "never"})
	n, err := s.store.Tidy(s.ctx, store.TidyCutoff{Tokens: s.now.Add(time.Hour)}, 1)
	s.is(err, nil)
	s.same(n, 1)
	s.same(left(), []string{"later", "never"})
	s.same(s.tidy(store.TidyCutoff{Tokens: s.now.Add(100 * 365 * 24 * time.Hour)}), 1)
	s.same(left(), []string{"never"})
}

func raceToken(s *suite) {
	for range rounds {
		id := s.id()
		intents := make([]store.Intent, rivals)
		errs := race(rivals, func(i int) error {
			intents[i] = s.newTokenIntent(id)
			return s.store.BeginIssuance(s.ctx, intents[i])
		})
		winner := s.oneWins(errs, store.ErrUsed)
		s.same(s.intents(s.now.Add(time.Hour), 10), intents[winner:winner+1])
		s.must(s.store.CompleteIssuance(s.ctx, s.newCertificate(intents[winner], "")))
	}
}

// raceFreedToken lets rivals wait for a token that is being freed: one gets it
// at most, and only after that.
func raceFreedToken(s *suite) {
	for range rounds {
		id := s.id()
		first := s.spend(id)
		errs := race(rivals, func(i int) error {
			if i == 0 {
				return s.store.AbandonIntent(s.ctx, first.CertificateKey, s.now, nil, report("gone"))
			}
			return s.store.BeginIssuance(s.ctx, s.newTokenIntent(id))
		})
		s.is(errs[0], nil)
		began := 0
		for _, err := range errs[1:] {
			if err == nil {
				began++
				continue
			}
			s.is(err, store.ErrUsed)
		}
		open := s.intents(s.now.Add(time.Hour), 10)
		s.same(len(open), began)
		if began > 1 {
			s.Fatalf("the token was spent %d times", began)
		}
		for i := range open {
			s.must(s.store.CompleteIssuance(s.ctx, s.newCertificate(open[i], "")))
		}
	}
}
