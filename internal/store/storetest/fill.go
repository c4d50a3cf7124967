package storetest

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"chancery/internal/identifier"
	"chancery/internal/store"
)

// Fill does steps of all kinds to an empty store, which rapid chooses, so that
// there are records of every kind.
func Fill(t *testing.T, rt *rapid.T, into store.Store) {
	s := newSuite(t, into)
	orders := &model{suite: s, t: rt, account: s.account(), authz: map[string]store.AuthorizationStatus{}}
	orders.newOrder(rt)
	certificates := &inventoryModel{suite: s, t: rt, inventory: inventory{first: map[string]time.Time{}}}
	others := s.others()
	for _, step := range others {
		step(rt) // once at least
	}
	for name, step := range map[string]func(*rapid.T){
		"order": orders.newOrder, "claim": orders.claimAny, "finish": orders.finish, "deactivate": orders.deactivate, "fail": orders.fail,
		"begin": orders.beginAny, "complete": orders.complete, "give up": orders.abandon, "close": orders.close,
		"issue": certificates.issue, "renew": certificates.renew, "abandon": certificates.abandonOne, "revoke": certificates.revokeOne,
		"revoke all": certificates.revokeAll, "tidy": certificates.tidyOld,
	} {
		others[name] = step
	}
	rt.Repeat(others)
}

// others are the steps that no model has.
func (s *suite) others() map[string]func(*rapid.T) {
	spent := 0
	return map[string]func(*rapid.T){
		"account":     func(*rapid.T) { s.fillAccount() },
		"strange":     func(*rapid.T) { s.fillStrange() },
		"attempts":    func(*rapid.T) { s.fillAttempts() },
		"replacement": func(*rapid.T) { s.fillReplacement() },
		"token": func(*rapid.T) {
			spent++
			s.spend(fmt.Sprintf("left/%d", spent))
			s.must(s.store.CompleteIssuance(s.ctx, s.newCertificate(s.spend(fmt.Sprintf("used/%d", spent)), "", "token.example")))
		},
		"lists": func(*rapid.T) { s.fillLists() },
		"provisioner": func(*rapid.T) {
			s.provisioner(s.id())
			gone := s.provisioner(s.id())
			s.must(s.store.RemoveProvisioner(s.ctx, gone.Name))
		},
		"incident": func(rt *rapid.T) {
			i := s.incident(s.now.Add(time.Duration(rapid.IntRange(-3, 3).Draw(rt, "opened")) * time.Hour))
			if rapid.Bool().Draw(rt, "closed") {
				s.must(s.store.CloseIncident(s.ctx, i.ID, s.now))
			}
		},
		"admin token": func(rt *rapid.T) {
			t := s.adminToken(s.now)
			if rapid.Bool().Draw(rt, "revoked") {
				s.must(s.store.RevokeAdminToken(s.ctx, t.ID, s.now))
			}
		},
		"issuer": func(rt *rapid.T) {
			n := rapid.Byte().Draw(rt, "issuer")
			s.must(s.store.RegisterIssuer(s.ctx, store.Issuer{
				ID: fmt.Sprintf("%02x", n), SubjectKeyID: []byte{n}, Chain: [][]byte{{n}, {0}}, Alternates: [][][]byte{{{n, 1}}},
			}))
		},
	}
}

// fillAccount makes an account that came by a binding key and has changed.
func (s *suite) fillAccount() {
	b := s.newBinding()
	b.SingleUse, b.Expires = true, s.now.Add(time.Hour)
	b.Grant = store.Grant{Allow: []string{"**.example"}, Labels: map[string]string{"team": "<web>"}}
	s.bind(b)
	a := s.newAccount()
	a.BindingID, a.BindingRequest, a.TermsAgreed = b.ID, []byte(`{"protected": "eyJ9"}`), s.now
	_, _, err := s.store.CreateAccount(s.ctx, a)
	s.must(err)
	s.must(s.store.RevokeBinding(s.ctx, b.ID, s.now))
	_, err = s.store.SetContact(s.ctx, a.ID, nil)
	s.must(err)
	_, err = s.store.ChangeKey(s.ctx, a.ID, a.Key.Thumbprint, store.AccountKey{Thumbprint: "new key of " + a.ID, JWK: []byte("{}")})
	s.must(err)
}

// fillStrange makes records with texts that are no text.
func (s *suite) fillStrange() {
	for _, strange := range []string{"\x00", "\xff\xfe", "\U0010FFFF", "'\"\\", "é\n"} {
		a := s.newAccount()
		a.Key.Thumbprint, a.Contact = strange+a.ID, []string{"mailto:é@example.com"}
		_, _, err := s.store.CreateAccount(s.ctx, a)
		s.must(err)
		c := s.newCertificate(s.newIntent(""), a.ID, "strange.example")
		c.Subject, c.Rule = "O="+strange, strange
		s.record(c)
	}
}

// fillAttempts makes authorizations of no order, with attempts, proven for names
// below them, and being processed.
func (s *suite) fillAttempts() {
	account := s.account()
	proven := s.newAuthorization(account.ID, dns("above.example"))
	proven.Subdomains, proven.GrantID = true, "grant"
	s.must(s.store.CreateAuthorization(s.ctx, proven))
	s.must(s.store.FinishAuthorization(s.ctx, proven.ID, s.proven()))
	trying := s.newAuthorization(account.ID, identifier.Identifier{Type: identifier.IP, Value: "10.0.0.1"})
	s.must(s.store.CreateAuthorization(s.ctx, trying))
	s.must(s.store.ClaimValidation(s.ctx, trying.ID, s.claim("http-01")))
	for i := range 2 {
		s.must(s.store.RecordAttempt(s.ctx, trying.ID, s.attempt("http-01"), s.now.Add(time.Duration(i)*time.Second)))
	}
}

// fillReplacement makes an order that replaces a certificate, and uses a proof
// that another order has.
func (s *suite) fillReplacement() {
	old := s.ready("old.example")
	c := s.issue(old)
	o := s.newReplacing(old.AccountID, c.CertificateKey, "old.example")
	o.Authorizations, o.AuthorizationIDs = old.Authorizations, old.AuthorizationIDs
	_, _, err := s.store.CreateOrder(s.ctx, o, nil)
	s.must(err)
}

// fillLists makes a partition with certificates, and lists of what is revoked.
func (s *suite) fillLists() {
	number := s.partition()
	s.in(number, 48*time.Hour)
	s.revoke(s.in(number, 48*time.Hour))
	s.publish(s.now, s.now)
	s.revoke(s.in(number, 24*time.Hour))
}
