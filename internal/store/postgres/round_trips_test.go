package postgres

import (
	"testing"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/storetest"
)

// TestRoundTrips holds each step to what it needs.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	s, ctx, now := openTest(t), t.Context(), time.Now()
	account := storetest.NewAccount(t)
	order := storetest.NewOrder(t, account.ID, "a.example", now)
	s.upkeep.stop() // which has round trips of its own
	again := storetest.NewOrder(t, account.ID, "a.example", now)
	certificate := storetest.NewCertificate(t, &order, now)
	key := certificate.CertificateKey
	again.Replaces = &key
	events := []store.LimitEvent{{Key: store.LimitKey{1}, Interval: 1, Span: 1}, {Key: store.LimitKey{2}, Interval: 1, Span: 1}}
	var lease store.Lease
	var err error
	for _, step := range []struct {
		name string
		want int64
		run  func()
	}{
		{"CreateAccount", 1, func() { _, _, err = s.CreateAccount(ctx, account) }},
		{"AccountByKey", 1, func() { _, err = s.AccountByKey(ctx, account.Key.Thumbprint) }},
		{"CreateOrder", 1, func() { _, _, err = s.CreateOrder(ctx, order, order.Authorizations) }},
		{"Order", 1, func() { _, err = s.Order(ctx, order.ID) }},
		{"ClaimValidation", 1, func() {
			err = s.ClaimValidation(ctx, order.Authorizations[0].ID, store.ValidationClaim{Method: "http-01", NextAttempt: now, Till: now.Add(time.Minute)})
		}},
		{"FinishAuthorization", 1, func() {
			err = s.FinishAuthorization(ctx, order.Authorizations[0].ID, store.Outcome{Method: "http-01", Settled: now, Expires: now.Add(time.Hour)})
		}},
		{"BeginIssuance", 1, func() {
			err = s.BeginIssuance(ctx, store.Intent{CertificateKey: key, Owner: certificate.Owner, TBS: certificate.DER, Attempt: 1, Created: now, Deadline: now.Add(time.Hour)})
		}},
		{"CompleteIssuance", 1, func() { err = s.CompleteIssuance(ctx, certificate) }},
		{"CountCertificates", 1, func() { _, err = s.CountCertificates(ctx, "", "", now) }},
		{"CreateOrder that replaces", 2, func() { _, _, err = s.CreateOrder(ctx, again, again.Authorizations) }},
		{"SetContact", 1, func() { _, err = s.SetContact(ctx, account.ID, nil) }},
		{"RegisterIssuer", 1, func() { err = s.RegisterIssuer(ctx, store.Issuer{ID: "a"}) }},
		{"SpendNonces", 1, func() { _, err = s.SpendNonces(ctx, []store.NonceID{{2}, {1}}) }},
		{"TakeEvents", 1, func() { _, _, err = s.TakeEvents(ctx, events, now) }},
		{"TakeEvents that are too many", 1, func() { _, _, err = s.TakeEvents(ctx, events, now) }},
		{"RefundEvents", 1, func() { err = s.RefundEvents(ctx, events) }},
		{"EventsDone", 1, func() { _, err = s.EventsDone(ctx, []store.LimitKey{{1}, {2}}) }},
		{"TakeLease", 1, func() { lease, err = s.TakeLease(ctx, "job", "node", time.Hour) }},
		{"ListLeases", 1, func() { _, err = s.ListLeases(ctx) }},
		{"catching up", 3, func() { err = s.catchUp(ctx) }},
		{"Tidy of nothing under a lease", 5, func() { _, err = s.Tidy(ctx, store.TidyCutoff{Orders: now, Fence: lease.Fence()}, 10) }},
		{"GiveLease", 1, func() { err = s.GiveLease(ctx, lease) }},
		{"SeeNode", 1, func() { err = s.SeeNode(ctx, store.Node{ID: "node"}) }},
		{"ListNodes", 1, func() { _, _, err = s.ListNodes(ctx) }},
		{"RemoveNode", 1, func() { err = s.RemoveNode(ctx, "node") }},
		{"Secret", 1, func() { _, err = s.Secret(ctx, "a", []byte("b")) }},
		{"Versions", 1, func() { _, err = s.Versions(ctx) }},
		{"RevokeAll of none", 2, func() { _, err = s.RevokeAll(ctx, []store.CertificateKey{{}}, store.Revocation{At: now}) }},
		{"Revoke", 2, func() { err = s.Revoke(ctx, key, store.Revocation{At: now, Reason: 1}) }},
	} {
		before := s.RoundTrips()
		step.run()
		if got := s.RoundTrips() - before; err != nil || got != step.want {
			t.Errorf("%s takes %d round trips, want %d (%v)", step.name, got, step.want, err)
		}
	}
}
