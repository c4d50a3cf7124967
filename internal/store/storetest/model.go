package storetest

import (
	"time"

	"pgregory.net/rapid"

	"chancery/internal/store"
)

func modelTests() map[string]func(*suite) {
	return map[string]func(*suite){"orders and authorizations": func(s *suite) {
		rapid.Check(s.T, func(t *rapid.T) {
			m := &model{suite: s, t: t, account: s.account(), authz: map[string]store.AuthorizationStatus{}}
			m.newOrder(t) // so that the other steps have one to choose
			t.Repeat(map[string]func(*rapid.T){
				"":           m.check,
				"order":      m.newOrder,
				"claim":      m.claimAny,
				"finish":     m.finish,
				"deactivate": m.deactivate,
				"fail":       m.fail,
				"begin":      m.beginAny,
				"complete":   m.complete,
				"abandon":    m.abandon,
				"close":      m.close,
			})
		})
	}}
}

// model is what an account's orders and authorizations must be after the steps
// so far. It holds no more than it needs to foretell every answer.
type model struct {
	*suite
	t       *rapid.T
	account store.Account
	closed  bool
	orders  []*modelOrder
	authz   map[string]store.AuthorizationStatus
	names   []string // the ids of authz, in the order they were made
}

type modelOrder struct {
	store.Order
	failed  bool
	intent  *store.Intent // while it is processing
	settled []store.Intent
}

func (m *model) statusOf(o *modelOrder) store.OrderStatus {
	switch {
	case o.Certificate != nil:
		return store.OrderValid
	case o.failed:
		return store.OrderInvalid
	case o.intent != nil:
		return store.OrderProcessing
	}
	status := store.OrderReady
	for _, id := range o.AuthorizationIDs {
		switch m.authz[id] {
		case store.AuthorizationValid:
		case store.AuthorizationPending:
			status = store.OrderPending
		default:
			return store.OrderInvalid
		}
	}
	return status
}

func (m *model) check(t *rapid.T) {
	for _, o := range m.orders {
		stored := m.readOrder(o.ID)
		if got, want := stored.Status(m.now), m.statusOf(o); got != want {
			t.Fatalf("order %s is %s, want %s", o.ID, got, want)
		}
	}
	for id, want := range m.authz {
		if got := m.readAuthorization(id).State; got != want {
			t.Fatalf("authorization %s is %s, want %s", id, got, want)
		}
	}
}

// expect ends the run when a step's error is not the one foretold.
func (m *model) expect(err, want error) {
	m.Helper()
	if (want == nil) != (err == nil) {
		m.t.Fatalf("the error is %v, want %v", err, want)
	}
	m.is(err, want)
}

func (m *model) anyOrder(t *rapid.T) *modelOrder {
	return rapid.SampledFrom(m.orders).Draw(t, "order")
}

func (m *model) anyAuthorization(t *rapid.T) string {
	return rapid.SampledFrom(m.names).Draw(t, "authorization")
}

// newOrder makes an order that uses what is proven, as the server would.
func (m *model) newOrder(t *rapid.T) {
	names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a.example", "b.example", "*.a.example"}), 1, 3, rapid.ID).Draw(t, "names")
	o := m.suite.newOrder(m.account.ID, names...)
	found, err := m.store.ValidAuthorizations(m.ctx, m.account.ID, o.Identifiers, m.now)
	m.must(err)
	var fresh []store.Authorization
	for i, name := range o.Identifiers {
		if proven, ok := found[name]; ok {
			o.Authorizations[i], o.AuthorizationIDs[i] = proven, proven.ID
			continue
		}
		fresh = append(fresh, o.Authorizations[i])
	}
	_, created, err := m.store.CreateOrder(m.ctx, o, fresh)
	m.expect(err, pick(m.closed, store.ErrNotValid, nil))
	if !created {
		return
	}
	m.orders = append(m.orders, &modelOrder{Order: o})
	for i := range fresh {
		m.authz[fresh[i].ID] = store.AuthorizationPending
		m.names = append(m.names, fresh[i].ID)
	}
}

// pending is the error that a step on an authorization must have, which must
// be pending.
func (m *model) pending(id string) error {
	return pick(m.authz[id] == store.AuthorizationPending, nil, store.ErrNotPending)
}

func (m *model) claimAny(t *rapid.T) {
	id := m.anyAuthorization(t)
	m.expect(m.store.ClaimValidation(m.ctx, id, m.claim("http-01")), m.pending(id))
}

func (m *model) finish(t *rapid.T) {
	id, want := m.anyAuthorization(t), store.AuthorizationInvalid
	outcome := m.failed()
	if rapid.Bool().Draw(t, "proven") {
		outcome, want = m.proven(), store.AuthorizationValid
	}
	err := m.store.FinishAuthorization(m.ctx, id, outcome)
	m.expect(err, m.pending(id))
	if err == nil {
		m.authz[id] = want
	}
}

func (m *model) deactivate(t *rapid.T) {
	id := m.anyAuthorization(t)
	_, err := m.store.DeactivateAuthorization(m.ctx, id)
	m.expect(err, pick(m.authz[id] == store.AuthorizationValid, nil, m.pending(id)))
	if err == nil {
		m.authz[id] = store.AuthorizationDeactivated
	}
}

func (m *model) fail(t *rapid.T) {
	o := m.anyOrder(t)
	m.expect(m.store.FailOrder(m.ctx, o.ID, report("failed")), nil)
	if status := m.statusOf(o); status == store.OrderPending || status == store.OrderReady {
		o.failed = true
	}
}

func (m *model) beginAny(t *rapid.T) {
	o := m.anyOrder(t)
	want := map[store.OrderStatus]error{
		store.OrderReady: nil, store.OrderProcessing: store.ErrClaimed, store.OrderValid: store.ErrClaimed,
		store.OrderPending: store.ErrNotReady, store.OrderInvalid: store.ErrNotReady,
	}[m.statusOf(o)]
	intent := m.newIntent(o.ID)
	err := m.store.BeginIssuance(m.ctx, intent)
	m.expect(err, want)
	if err == nil {
		o.intent = &intent
	}
}

func (m *model) complete(t *rapid.T) {
	o := m.anyOrder(t)
	if o.intent == nil {
		for _, settled := range o.settled {
			m.expect(m.store.CompleteIssuance(m.ctx, m.newCertificate(settled, m.account.ID)), store.ErrNotFound)
		}
		return
	}
	m.expect(m.store.CompleteIssuance(m.ctx, m.newCertificate(*o.intent, m.account.ID)), nil)
	o.Certificate, o.intent = &o.intent.CertificateKey, nil
}

func (m *model) abandon(t *rapid.T) {
	o := m.anyOrder(t)
	if o.intent == nil {
		for _, settled := range o.settled {
			m.expect(m.store.AbandonIntent(m.ctx, settled.CertificateKey, m.now, nil, report("gone")), store.ErrNotFound)
		}
		return
	}
	var next *store.Intent
	if rapid.Bool().Draw(t, "again") {
		intent := m.newIntent(o.ID)
		next = &intent
	}
	m.expect(m.store.AbandonIntent(m.ctx, o.intent.CertificateKey, m.now.Add(time.Minute), next, report("gone")), nil)
	o.settled = append(o.settled, *o.intent)
	o.intent, o.failed = next, next == nil
}

func (m *model) close(t *rapid.T) {
	if rapid.IntRange(0, 4).Draw(t, "unlikely") > 0 {
		return
	}
	_, err := m.store.CloseAccount(m.ctx, m.account.ID, store.AccountDeactivated, report("closed"))
	m.expect(err, pick(m.closed, store.ErrNotValid, nil))
	m.closed = true
	for _, o := range m.orders {
		if o.Certificate == nil && o.intent == nil {
			o.failed = true
		}
	}
}
