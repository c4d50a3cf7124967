package storetest

import (
	"fmt"
	"testing"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/store"
)

// Compare asks two stores the same questions, about all there is in the first,
// and reports those that they answer differently. It changes nothing.
func Compare(t *testing.T, one, other store.Store) {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Millisecond)
	want, got := answersOf(t, one, now), answersOf(t, other, now)
	for question, answer := range want {
		if got[question] != answer {
			t.Errorf("%s: the answer is %s, want %s", question, got[question], answer)
		}
	}
	if len(got) != len(want) {
		t.Errorf("the one store leads to %d questions, the other to %d", len(want), len(got))
	}
}

// answers are what a store says, in JSON, by question.
type answers struct {
	*suite
	said map[string]string
}

func answersOf(t *testing.T, from store.Store, now time.Time) map[string]string {
	s := newSuite(t, from)
	s.now = now
	a := &answers{suite: s, said: map[string]string{}}
	a.accounts()
	a.orders()
	a.authorizations()
	a.issuers()
	a.certificates()
	a.services()
	a.administration()
	return a.said
}

func (a *answers) note(question string, answer any, err error) {
	text := dump(answer)
	if err != nil {
		text += " " + err.Error()
	}
	a.said[question] = text
}

func (a *answers) accounts() {
	bindings := map[string]bool{"": true}
	for _, id := range a.accountPages(store.AccountQuery{Limit: 3}) {
		account, err := a.store.Account(a.ctx, id)
		a.note("account "+id, account, err)
		byKey, err := a.store.AccountByKey(a.ctx, account.Key.Thumbprint)
		a.note("account by key "+account.Key.Thumbprint, byKey, err)
		bindings[account.BindingID] = true
		a.note("orders of "+id, a.orderPages(store.OrderQuery{AccountID: id, Limit: 2}), nil)
		names := []identifier.Identifier{dns("a.example"), dns("*.a.example"), dns("old.example"), dns("x.above.example"), dns("above.example")}
		valid, err := a.store.ValidAuthorizations(a.ctx, id, names, a.now)
		a.note("valid authorizations of "+id, len(valid), err)
		above, err := a.store.ValidAncestors(a.ctx, id, names, a.now)
		a.note("authorizations above, of "+id, len(above), err)
		for _, name := range names {
			a.note(fmt.Sprintf("valid authorizations of %s for %s", id, name), [2]any{valid[name], above[name]}, nil)
		}
	}
	for id := range bindings {
		a.note("accounts by binding "+id, a.accountPages(store.AccountQuery{BindingID: id, Limit: 3}), nil)
	}
}

func (a *answers) orders() {
	for _, id := range a.orderPages(store.OrderQuery{Limit: 3}) {
		o, err := a.store.Order(a.ctx, id)
		a.note("order "+id, o, err)
		a.note("status of order "+id, o.Status(a.now), nil)
		for i := range o.Authorizations {
			authz, err := a.store.Authorization(a.ctx, o.Authorizations[i].ID)
			a.note("authorization "+authz.ID, authz, err)
		}
		if o.Replaces != nil {
			by, err := a.store.Replacement(a.ctx, *o.Replaces, a.now)
			a.note("replacement by order of "+o.Replaces.Serial.String(), by, err)
		}
	}
	intents, err := a.store.Intents(a.ctx, a.never(), 1000)
	a.note("intents", intents, err)
}

func (a *answers) authorizations() {
	due, err := a.store.DueValidations(a.ctx, a.now.AddDate(-1, 0, 0), a.now, 10)
	a.note("due a year ago", due, err)
}

func (a *answers) issuers() {
	issuers, err := a.store.Issuers(a.ctx)
	a.note("issuers", issuers, err)
	for _, id := range append([]string{issuerID}, someIssuers...) {
		count, last, err := a.store.Unexpired(a.ctx, id, a.now)
		a.note("unexpired of "+id, [2]any{count, last}, err)
		newest, err := a.store.NewestPartition(a.ctx, id)
		a.note("newest partition of "+id, newest, err)
		stale, err := a.store.StaleLists(a.ctx, []string{id}, a.now, a.never(), 1000)
		a.note("stale lists of "+id, stale, err)
		stale, err = a.store.StaleLists(a.ctx, []string{id}, a.never(), a.never(), 1000)
		a.note("stale lists of "+id+" in a while", stale, err)
		for partition := range newest.Number + 1 {
			list, err := a.store.RevocationList(a.ctx, id, partition)
			a.note(fmt.Sprintf("list %d of %s", partition, id), list, err)
			var entries []store.RevokedEntry
			err = a.store.Revoked(a.ctx, id, partition, a.now, func(e store.RevokedEntry) error {
				entries = append(entries, e)
				return nil
			})
			a.note(fmt.Sprintf("revoked in %d of %s", partition, id), entries, err)
		}
	}
}

func (a *answers) certificates() {
	all := 0
	for before := (*store.CertificateKey)(nil); ; {
		list, err := a.store.ListCertificates(a.ctx, store.CertificateQuery{Before: before})
		a.must(err)
		if len(list) == 0 {
			break
		}
		all += len(list)
		for i := range list {
			key := list[i].CertificateKey
			alone, err := a.store.Certificate(a.ctx, key)
			a.note("certificate "+key.Serial.String(), alone, err)
			by, err := a.store.ReplacedBy(a.ctx, key)
			a.note("replacement of "+key.Serial.String(), by, err)
			before = &key
		}
	}
	status := []store.CertificateStatus{store.CertificateGood, store.CertificateExpired, store.CertificateRevoked, store.CertificateAbandoned}
	for _, query := range a.certificateQueries() {
		for _, query.Status = range append(status, "") {
			query.Now, query.Limit = a.now, 4+all/8
			a.note("certificates "+dump(query), a.certificatePages(query), nil)
		}
	}
	for _, issuer := range append(someIssuers, "", issuerID) {
		for _, profile := range append(someProfiles, "") {
			for hours := -5; hours <= 5; hours += 5 {
				counts, err := a.store.CountCertificates(a.ctx, issuer, profile, a.now.Add(time.Duration(hours)*time.Hour))
				a.note(fmt.Sprintf("counts of %s and %s in %d h", issuer, profile, hours), counts, err)
			}
		}
	}
}

// certificateQueries ask one question each.
func (a *answers) certificateQueries() (list []store.CertificateQuery) {
	list = []store.CertificateQuery{
		{IssuedAfter: a.now}, {IssuedBefore: a.now}, {ExpiresAfter: a.now}, {ExpiresBefore: a.now}, {RevokedAfter: a.now}, {RevokedBefore: a.now},
		{KeyHash: &[32]byte{1}}, {ServiceID: store.ServiceID([]identifier.Identifier{dns("old.example")})}, {NamePart: "strange"},
	}
	for _, name := range append(someNames, dns("old.example")) {
		list = append(list, store.CertificateQuery{Name: name.Value})
	}
	for _, part := range someParts {
		list = append(list, store.CertificateQuery{NamePart: part})
	}
	for _, pattern := range somePatterns {
		list = append(list, store.CertificateQuery{NamePattern: pattern})
	}
	for _, requester := range append(someRequesters, "token:", "acme:") {
		list = append(list, store.CertificateQuery{Requester: requester})
	}
	for _, subject := range someSubjects {
		list = append(list, store.CertificateQuery{Subject: subject})
	}
	return list
}

func (a *answers) services() {
	for _, query := range []store.ServiceQuery{
		{}, {Health: store.ServiceHealthy}, {Health: store.ServiceUnhealthy}, {ExpiresBefore: a.now}, {NamePattern: "**.corp"}, {NamePart: "old"},
	} {
		query.Now, query.Limit = a.now, 3
		a.note("services "+dump(query), pages(a.suite, 3, func(s *store.Service) string { return dump(s) }, func(last *store.Service) ([]store.Service, error) {
			if last != nil {
				query.Before = last.ID
			}
			return a.store.ListServices(a.ctx, query)
		}), nil)
	}
}

func (a *answers) administration() {
	bindings, err := a.store.ListBindings(a.ctx)
	a.note("bindings", bindings, err)
	for i := range bindings {
		a.note("binding "+bindings[i].ID, a.readBinding(bindings[i].ID), nil)
	}
	a.note("provisioners", a.provisioners(), nil)
	a.note("incidents", a.incidents(), nil)
	a.note("admin tokens", a.adminTokens(), nil)
	for _, t := range a.adminTokens() {
		token, err := a.store.AdminToken(a.ctx, t.ID)
		a.note("admin token "+t.ID, token, err)
	}
}
