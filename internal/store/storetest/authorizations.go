package storetest

import (
	"encoding/json"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/store"
)

func authorizationTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"are kept as they were given":     authorizationsAreKept,
		"that are valid are found":        validOnesAreFound,
		"that are not valid stay unfound": invalidOnesAreNot,
		"are settled once":                authorizationsAreSettled,
		"count for the names below":       validOnesAbove,
		"that expired stay invalid":       expiredOnesStay,
		"are deactivated by their owner":  authorizationsAreDeactivated,
	}
}

// authorization is a stored authorization of no order.
func (s *suite) authorization(accountID string, name identifier.Identifier) store.Authorization {
	s.Helper()
	a := s.newAuthorization(accountID, name)
	s.must(s.store.CreateAuthorization(s.ctx, a))
	return a
}

func (s *suite) attempt(method string) store.Attempt {
	return store.Attempt{
		Method: method, Started: s.now, Took: 3 * time.Millisecond, Failure: report("no answer"),
		Transcript: json.RawMessage(`[{"step":"connect","text":"a \"quoted\" word"}]`),
	}
}

func authorizationsAreKept(s *suite) {
	account := s.account()
	full := s.newAuthorization(account.ID, dns("*.a.example"))
	full.State, full.Method, full.Thumbprint = store.AuthorizationInvalid, "dns-01", "thumb"
	full.Settled, full.Failure = s.now.Add(time.Second), report("wrong")
	full.Attempts = []store.Attempt{s.attempt("dns-01"), {Method: "dns-01", Started: s.now}}
	bare := s.newAuthorization(account.ID, identifier.Identifier{Type: identifier.IP, Value: "fd00::1"})
	bare.Methods = nil
	granted := s.newAuthorization(account.ID, dns("*.b.example"))
	granted.State, granted.Method, granted.Settled, granted.GrantID = store.AuthorizationValid, "dns-01", s.now, "grant"
	above := s.newAuthorization(account.ID, dns("c.example"))
	above.Subdomains = true
	for _, a := range []store.Authorization{full, bare, granted, above} {
		s.must(s.store.CreateAuthorization(s.ctx, a))
		s.same(s.readAuthorization(a.ID), a)
	}
	_, err := s.store.Authorization(s.ctx, s.id())
	s.is(err, store.ErrNotFound)
}

func validOnesAreFound(s *suite) {
	account := s.account()
	settle := func(name string, expires time.Duration) string {
		a, outcome := s.authorization(account.ID, dns(name)), s.proven()
		outcome.Expires = s.now.Add(expires)
		s.must(s.store.FinishAuthorization(s.ctx, a.ID, outcome))
		return a.ID
	}
	settle("a.example", 2*time.Hour)
	last := settle("a.example", 3*time.Hour)
	settle("a.example", time.Hour)
	wild := settle("*.a.example", time.Hour)
	settle("c.example", time.Minute)
	names := []identifier.Identifier{dns("a.example"), dns("*.a.example"), dns("b.example"), dns("c.example")}
	found, err := s.store.ValidAuthorizations(s.ctx, account.ID, names, s.now.Add(time.Minute))
	s.is(err, nil)
	s.same(len(found), 2)
	s.same(found[dns("a.example")], s.readAuthorization(last))
	s.same(found[dns("*.a.example")], s.readAuthorization(wild))
}

func invalidOnesAreNot(s *suite) {
	account, name := s.account(), dns("a.example")
	s.authorization(account.ID, name)
	failed, withdrawn, others := s.authorization(account.ID, name), s.authorization(account.ID, name), s.authorization(s.account().ID, name)
	s.must(s.store.FinishAuthorization(s.ctx, failed.ID, s.failed()))
	s.must(s.store.FinishAuthorization(s.ctx, others.ID, s.proven()))
	s.must(s.store.FinishAuthorization(s.ctx, withdrawn.ID, s.proven()))
	_, err := s.store.DeactivateAuthorization(s.ctx, withdrawn.ID)
	s.must(err)
	address := s.authorization(account.ID, identifier.Identifier{Type: identifier.IP, Value: "a.example"})
	s.must(s.store.FinishAuthorization(s.ctx, address.ID, s.proven()))
	for _, names := range [][]identifier.Identifier{{name}, nil} {
		found, err := s.store.ValidAuthorizations(s.ctx, account.ID, names, s.now)
		s.is(err, nil)
		s.same(len(found), 0)
	}
}

func authorizationsAreSettled(s *suite) {
	account := s.account()
	attempt := s.attempt("http-01")
	for name, outcome := range map[string]store.Outcome{
		"proven":            s.proven(),
		"failed":            s.failed(),
		"with an attempt":   {Method: "http-01", Settled: s.now, Attempt: &attempt, Failure: report("no answer")},
		"without a new end": {Method: "http-01", Settled: s.now},
		"without a method":  {Settled: s.now, Failure: &failure.Report{Text: "withdrawn"}},
	} {
		a := s.authorization(account.ID, dns("a.example"))
		s.is(s.store.FinishAuthorization(s.ctx, a.ID, outcome), nil)
		a.State, a.Method, a.Thumbprint = store.AuthorizationValid, outcome.Method, outcome.Thumbprint
		a.Settled, a.Failure = outcome.Settled, outcome.Failure
		if outcome.Failure != nil {
			a.State = store.AuthorizationInvalid
		}
		if outcome.Attempt != nil {
			a.Attempts = []store.Attempt{*outcome.Attempt}
		}
		if !outcome.Expires.IsZero() {
			a.Expires = outcome.Expires
		}
		got := s.readAuthorization(a.ID)
		s.same(got, a)
		for _, late := range []store.Outcome{s.proven(), s.failed()} {
			if err := s.store.FinishAuthorization(s.ctx, a.ID, late); err == nil {
				s.Errorf("%s: settled twice", name)
			} else {
				s.is(err, store.ErrNotPending)
			}
		}
		s.same(s.readAuthorization(a.ID), a)
	}
	s.is(s.store.FinishAuthorization(s.ctx, s.id(), s.proven()), store.ErrNotFound)
}

func expiredOnesStay(s *suite) {
	a := s.newAuthorization(s.account().ID, dns("a.example"))
	a.Expires = s.now.Add(-time.Second)
	s.must(s.store.CreateAuthorization(s.ctx, a))
	s.is(s.store.FinishAuthorization(s.ctx, a.ID, s.proven()), store.ErrNotPending)
	s.is(s.store.ClaimValidation(s.ctx, a.ID, s.claim("http-01")), store.ErrNotPending)
	_, err := s.store.DeactivateAuthorization(s.ctx, a.ID)
	s.is(err, store.ErrNotPending)
	s.same(s.readAuthorization(a.ID), a)
}

func authorizationsAreDeactivated(s *suite) {
	account := s.account()
	pending, processing, valid := s.authorization(account.ID, dns("a.example")), s.authorization(account.ID, dns("a.example")), s.authorization(account.ID, dns("a.example"))
	s.must(s.store.ClaimValidation(s.ctx, processing.ID, s.claim("http-01")))
	s.must(s.store.FinishAuthorization(s.ctx, valid.ID, s.proven()))
	for _, id := range []string{pending.ID, processing.ID, valid.ID} {
		a, err := s.store.DeactivateAuthorization(s.ctx, id)
		s.is(err, nil)
		s.same(a.State, store.AuthorizationDeactivated)
		s.same(s.readAuthorization(id), a)
		_, err = s.store.DeactivateAuthorization(s.ctx, id)
		s.is(err, store.ErrNotPending)
		s.is(s.store.FinishAuthorization(s.ctx, id, s.proven()), store.ErrNotPending)
		s.is(s.store.ClaimValidation(s.ctx, id, s.claim("http-01")), store.ErrNotPending)
		s.is(s.store.RecordAttempt(s.ctx, id, s.attempt("http-01"), s.now), store.ErrNotPending)
	}
	failed := s.authorization(account.ID, dns("a.example"))
	s.must(s.store.FinishAuthorization(s.ctx, failed.ID, s.failed()))
	_, err := s.store.DeactivateAuthorization(s.ctx, failed.ID)
	s.is(err, store.ErrNotPending)
	_, err = s.store.DeactivateAuthorization(s.ctx, s.id())
	s.is(err, store.ErrNotFound)
	s.same(s.due(s.now.Add(time.Minute), 0), []string{})
}

func validOnesAbove(s *suite) {
	account := s.account()
	prove := func(accountID, name string, subdomains bool) store.Authorization {
		a := s.newAuthorization(accountID, dns(name))
		a.Subdomains = subdomains
		s.must(s.store.CreateAuthorization(s.ctx, a))
		s.must(s.store.FinishAuthorization(s.ctx, a.ID, s.proven()))
		return s.readAuthorization(a.ID)
	}
	far, near := prove(account.ID, "example", true), prove(account.ID, "b.example", true)
	prove(account.ID, "a.b.example", false)
	prove(account.ID, "*.b.example", true)
	prove(s.account().ID, "x.a.example", true)
	names := []identifier.Identifier{
		dns("x.a.example"), dns("x.a.b.example"), dns("y.x.a.example"), dns("b.example"), dns("example"), dns("other"),
		dns("*.c.b.example"), {Type: identifier.IP, Value: "10.0.0.1"},
	}
	found, err := s.store.ValidAncestors(s.ctx, account.ID, names, s.now)
	s.is(err, nil)
	s.same(len(found), 5)
	for name, want := range map[string]store.Authorization{
		"x.a.example": far, "x.a.b.example": near, "y.x.a.example": far, "b.example": far, "*.c.b.example": near,
	} {
		s.same(found[dns(name)], want)
	}
	found, err = s.store.ValidAncestors(s.ctx, account.ID, names, near.Expires)
	s.is(err, nil)
	s.same(len(found), 0)
}
