package storetest

import (
	"time"

	"chancery/internal/store"
)

func validationTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"are claimed by one method":         validationsAreClaimed,
		"keep their failed attempts":        attemptsAreKept,
		"are due when nobody is at them":    validationsAreDue,
		"are given to one worker at a time": validationsAreLeased,
		"end with their outcome":            validationsEnd,
		"without a time are due at once":    validationsAtOnce,
	}
}

// claim is due now and free for others a minute later.
func (s *suite) claim(method string) store.ValidationClaim {
	return store.ValidationClaim{Method: method, Thumbprint: "thumb", NextAttempt: s.now, Till: s.now.Add(time.Minute)}
}

// processing is a stored authorization with a claim, due at the given time.
func (s *suite) processing(accountID string, due, till time.Time) store.Authorization {
	s.Helper()
	a := s.authorization(accountID, dns("a.example"))
	s.must(s.store.ClaimValidation(s.ctx, a.ID, store.ValidationClaim{Method: "http-01", NextAttempt: due, Till: till}))
	return a
}

// due claims what is due at now for a minute.
func (s *suite) due(now time.Time, limit int) []string {
	s.Helper()
	list, err := s.store.DueValidations(s.ctx, now, now.Add(time.Minute), limit)
	s.must(err)
	for i := range list {
		s.same(list[i].ClaimedTill, now.Add(time.Minute))
		s.same(list[i], s.readAuthorization(list[i].ID))
	}
	return ids(list, authzID)
}

func validationsAreClaimed(s *suite) {
	a := s.authorization(s.account().ID, dns("a.example"))
	claim := s.claim("http-01")
	for range 2 {
		s.is(s.store.ClaimValidation(s.ctx, a.ID, claim), nil)
		a.Method, a.Thumbprint, a.NextAttempt, a.ClaimedTill = claim.Method, claim.Thumbprint, claim.NextAttempt, claim.Till
		s.same(s.readAuthorization(a.ID), a)
		claim.Thumbprint, claim.NextAttempt, claim.Till = "another", s.now.Add(time.Second), s.now.Add(time.Hour)
	}
	s.is(s.store.ClaimValidation(s.ctx, a.ID, s.claim("dns-01")), store.ErrNotPending)
	s.same(s.readAuthorization(a.ID), a)
	s.must(s.store.FinishAuthorization(s.ctx, a.ID, s.failed()))
	s.is(s.store.ClaimValidation(s.ctx, a.ID, claim), store.ErrNotPending)
	s.is(s.store.ClaimValidation(s.ctx, s.id(), claim), store.ErrNotFound)
}

func attemptsAreKept(s *suite) {
	a := s.processing(s.account().ID, s.now, s.now.Add(time.Minute))
	var attempts []store.Attempt
	for i := range 3 {
		attempt, next := s.attempt("http-01"), s.now.Add(time.Duration(i+1)*time.Second)
		if i == 1 {
			attempt.Failure, attempt.Transcript = nil, nil
		}
		s.is(s.store.RecordAttempt(s.ctx, a.ID, attempt, next), nil)
		attempts = append(attempts, attempt)
		got := s.readAuthorization(a.ID)
		s.same(got.Attempts, attempts)
		s.same(got.NextAttempt, next)
		s.same(got.ClaimedTill, time.Time{})
		s.same(got.Processing("http-01"), true)
	}
	outcome, last := s.failed(), s.attempt("http-01")
	outcome.Attempt = &last
	s.must(s.store.FinishAuthorization(s.ctx, a.ID, outcome))
	s.same(s.readAuthorization(a.ID).Attempts, append(attempts, last))
	s.is(s.store.RecordAttempt(s.ctx, a.ID, last, s.now), store.ErrNotPending)
	s.is(s.store.RecordAttempt(s.ctx, s.id(), last, s.now), store.ErrNotFound)
}

func validationsAreDue(s *suite) {
	account := s.account()
	s.authorization(account.ID, dns("a.example")) // nobody answered its challenge
	free := s.now.Add(-time.Second)
	late := s.processing(account.ID, s.now.Add(-2*time.Second), free)
	now := s.processing(account.ID, s.now, time.Time{})
	s.processing(account.ID, s.now.Add(time.Second), free)                  // not yet
	s.processing(account.ID, s.now.Add(-time.Second), s.now.Add(time.Hour)) // somebody is at it
	s.same(s.due(s.now, 10), []string{late.ID, now.ID})
	s.same(s.due(s.now, 10), []string{})
}

func validationsAreLeased(s *suite) {
	account := s.account()
	want := map[string]bool{}
	for range 5 {
		want[s.processing(account.ID, s.now, time.Time{}).ID] = true
	}
	for i, size := range []int{2, 2, 1, 0} {
		list := s.due(s.now, 2)
		s.same(len(list), size)
		for _, id := range list {
			if !want[id] {
				s.Errorf("round %d: %s is given out twice", i, id)
			}
			delete(want, id)
		}
	}
	s.same(len(s.due(s.now.Add(time.Minute), 10)), 5) // the leases ran out
}

// validationsAtOnce claims without a time: that is due at once.
func validationsAtOnce(s *suite) {
	a := s.processing(s.account().ID, time.Time{}, time.Time{})
	s.same(s.due(s.now, 10), []string{a.ID})
	s.is(s.store.RecordAttempt(s.ctx, a.ID, s.attempt("http-01"), time.Time{}), nil)
	s.same(s.due(s.now, 10), []string{a.ID})
}

func validationsEnd(s *suite) {
	account := s.account()
	settled := s.processing(account.ID, s.now, time.Time{})
	s.must(s.store.FinishAuthorization(s.ctx, settled.ID, s.proven()))
	expiring := s.processing(account.ID, s.now, time.Time{})
	s.same(s.due(expiring.Expires, 10), []string{})
	tried := s.processing(account.ID, s.now, s.now.Add(time.Hour))
	s.must(s.store.RecordAttempt(s.ctx, tried.ID, s.attempt("http-01"), s.now.Add(time.Second)))
	s.same(s.due(s.now, 10), []string{expiring.ID})
	s.same(s.due(s.now.Add(time.Second), 10), []string{tried.ID})
}
