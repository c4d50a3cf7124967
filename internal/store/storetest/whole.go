package storetest

import (
	"context"
	"errors"
	"strings"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/serial"
	"chancery/internal/store"
)

func wholeTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"answers a ping":                 wholePing,
		"is not harmed by strange ids":   wholeStrangeIDs,
		"does not wait for who has left": wholeContext,
		"refuses everything once closed": wholeClosed,
		"keeps times to the millisecond": wholeTimes,
	}
}

func wholePing(s *suite) {
	for range 3 {
		s.is(s.store.Ping(s.ctx), nil)
	}
}

// byID calls every step that looks for a record by an id.
func (s *suite) byID(ctx context.Context, id string) map[string]error {
	key := store.CertificateKey{IssuerID: id, Serial: serial.Number{1}}
	errs := map[string]error{
		"FailOrder":           s.store.FailOrder(ctx, id, report("x")),
		"ClaimValidation":     s.store.ClaimValidation(ctx, id, s.claim("http-01")),
		"RecordAttempt":       s.store.RecordAttempt(ctx, id, s.attempt("http-01"), s.now),
		"FinishAuthorization": s.store.FinishAuthorization(ctx, id, s.proven()),
		"BeginIssuance":       s.store.BeginIssuance(ctx, s.newIntent(id)),
		"CompleteIssuance":    s.store.CompleteIssuance(ctx, store.Certificate{CertificateKey: key}),
		"AbandonIntent":       s.store.AbandonIntent(ctx, key, s.now, nil, nil),
		"Revoke":              s.store.Revoke(ctx, key, store.Revocation{At: s.now}),
		"RevokeBinding":       s.store.RevokeBinding(ctx, id, s.now),
		"CloseIncident":       s.store.CloseIncident(ctx, id, s.now),
		"RemoveProvisioner":   s.store.RemoveProvisioner(ctx, id),
		"RevokeAdminToken":    s.store.RevokeAdminToken(ctx, id, s.now),
	}
	_, errs["Account"] = s.store.Account(ctx, id)
	_, errs["AccountByKey"] = s.store.AccountByKey(ctx, id)
	_, errs["SetContact"] = s.store.SetContact(ctx, id, nil)
	_, errs["ChangeKey"] = s.store.ChangeKey(ctx, id, id, store.AccountKey{})
	_, errs["CloseAccount"] = s.store.CloseAccount(ctx, id, store.AccountRevoked, nil)
	_, errs["Order"] = s.store.Order(ctx, id)
	_, errs["Authorization"] = s.store.Authorization(ctx, id)
	_, errs["DeactivateAuthorization"] = s.store.DeactivateAuthorization(ctx, id)
	_, errs["Certificate"] = s.store.Certificate(ctx, key)
	_, errs["ReplacedBy"] = s.store.ReplacedBy(ctx, key)
	_, errs["Service"] = s.store.Service(ctx, id)
	_, errs["Replacement"] = s.store.Replacement(ctx, key, s.now)
	_, errs["Binding"] = s.store.Binding(ctx, id)
	_, errs["NewestPartition"] = s.store.NewestPartition(ctx, id)
	_, errs["RevocationList"] = s.store.RevocationList(ctx, id, 1)
	_, errs["AdminToken"] = s.store.AdminToken(ctx, id)
	return errs
}

func wholeStrangeIDs(s *suite) {
	o := s.ready("a.example")
	for _, id := range []string{"", "'", "\x00", "%", "*", "\xff\xfe", o.ID + "\x00", o.ID + " ", strings.Repeat("a", 1<<20)} {
		for step, err := range s.byID(s.ctx, id) {
			if !errors.Is(err, store.ErrNotFound) {
				s.Errorf("%s with the id %.20q: %v", step, id, err)
			}
		}
		s.same(s.accountPages(store.AccountQuery{BindingID: id + "x"}), []string{})
		s.same(s.orderPages(store.OrderQuery{AccountID: id + "x"}), []string{})
		s.same(s.certificatePages(store.CertificateQuery{Name: id + "x", AccountID: id + "x", Profile: id + "x"}), []string{})
		for _, query := range []store.CertificateQuery{
			{NamePart: id + "xyz"}, {NamePattern: "*." + id + "x"}, {NamePattern: id + "x"}, {ServiceID: id + "x"}, {Requester: id + "/"},
			{Subject: id + "x"}, {IssuerID: id + "x"}, {Replaces: &store.CertificateKey{IssuerID: id}},
		} {
			s.same(s.certificatePages(query), []string{})
		}
		found, err := s.store.ValidAuthorizations(s.ctx, id, []identifier.Identifier{dns(id), dns("a.example")}, s.now)
		s.is(err, nil)
		s.same(len(found), 0)
	}
	s.same(s.readOrder(o.ID), o)
}

func wholeContext(s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	for step, err := range s.byID(ctx, s.id()) {
		if !errors.Is(err, context.Canceled) && !errors.Is(err, store.ErrNotFound) {
			s.Errorf("%s: %v", step, err)
		}
	}
	_, err := s.store.ListCertificates(ctx, store.CertificateQuery{})
	s.is(err, context.Canceled)
	o := s.ready("a.example")
	s.issue(o)
	s.status(o.ID, store.OrderValid)
}

func wholeClosed(s *suite) {
	o := s.ready("a.example")
	s.must(s.store.Close())
	for step, err := range s.byID(s.ctx, o.ID) {
		if !errors.Is(err, store.ErrUnavailable) {
			s.Errorf("%s: %v", step, err)
		}
	}
	s.is(s.store.Ping(s.ctx), store.ErrUnavailable)
	_, err := s.store.Tidy(s.ctx, store.TidyCutoff{Orders: s.now}, 1)
	s.is(err, store.ErrUnavailable)
	s.is(s.store.Close(), nil)
}

func wholeTimes(s *suite) {
	account := s.newAccount()
	local := time.Date(2026, 7, 1, 12, 0, 0, 123456789, time.FixedZone("somewhere", 3600))
	account.Created = local
	_, _, err := s.store.CreateAccount(s.ctx, account)
	s.must(err)
	stored, err := s.store.Account(s.ctx, account.ID)
	s.is(err, nil)
	s.same(stored.Created, local.UTC().Truncate(time.Millisecond))
	s.same(stored.TermsAgreed, time.Time{})
}
