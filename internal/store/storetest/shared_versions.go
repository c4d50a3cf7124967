package storetest

import (
	"time"

	"chancery/internal/store"
)

func versionTests() map[string]func(*shared) {
	return map[string]func(*shared){
		"rise with accounts":       versionsOfAccounts,
		"rise with administration": versionsOfAdministration,
		"rise with revocations":    versionsOfRevocations,
		"of issuers":               versionsOfIssuers,
	}
}

// raises reports when a step raises the versions of other kinds than these.
func (s *shared) raises(what string, step func() error, kinds ...store.Kind) {
	s.Helper()
	before, err := s.nodes.Versions(s.ctx)
	s.must(err)
	s.must(step())
	after, err := s.nodes.Versions(s.ctx)
	s.must(err)
	for _, kind := range kinds {
		if after[kind] <= before[kind] {
			s.Errorf("%s does not raise the version of %s", what, kind)
		}
		delete(after, kind)
	}
	for kind := range after {
		if after[kind] != before[kind] {
			s.Errorf("%s raises the version of %s", what, kind)
		}
	}
}

// fails is a step that must end with the error.
func (s *shared) fails(want error, step func() error) func() error {
	return func() error {
		s.is(step(), want)
		return nil
	}
}

func versionsOfAccounts(s *shared) {
	account, other := s.newAccount(), s.account()
	create := func() error { _, _, err := s.store.CreateAccount(s.ctx, account); return err }
	contact := func() error {
		_, err := s.store.SetContact(s.ctx, account.ID, []string{"mailto:b@example.com"})
		return err
	}
	key := store.AccountKey{Thumbprint: "another", JWK: []byte(`{}`)}
	change := func() error {
		_, err := s.store.ChangeKey(s.ctx, account.ID, account.Key.Thumbprint, key)
		return err
	}
	taken := func() error { _, err := s.store.ChangeKey(s.ctx, other.ID, other.Key.Thumbprint, key); return err }
	closing := func() error {
		_, err := s.store.CloseAccount(s.ctx, account.ID, store.AccountDeactivated, report("gone"))
		return err
	}
	s.raises("CreateAccount", create)
	s.raises("CreateAccount of one that is there", create)
	s.raises("SetContact", contact, store.KindAccounts)
	s.raises("ChangeKey", change, store.KindAccounts)
	s.raises("ChangeKey to a key in use", s.fails(store.ErrKeyInUse, taken))
	s.raises("an order and its certificate", func() error { s.issue(s.ready("a.example")); return nil })
	s.raises("CloseAccount", closing, store.KindAccounts)
	s.raises("CloseAccount of a closed one", s.fails(store.ErrNotValid, closing))
	s.raises("SetContact of a closed one", s.fails(store.ErrNotValid, contact))
	s.raises("Tidy", func() error { s.tidy(store.TidyCutoff{Orders: s.now.Add(48 * time.Hour)}); return nil })
}

func versionsOfAdministration(s *shared) {
	binding := s.newBinding()
	name := "renamed"
	s.raises("CreateBinding", func() error { return s.store.CreateBinding(s.ctx, binding) }, store.KindBindings)
	s.raises("UpdateBinding", func() error {
		_, err := s.store.UpdateBinding(s.ctx, binding.ID, store.BindingChange{Name: &name})
		return err
	}, store.KindBindings)
	bound := s.newAccount()
	bound.BindingID = binding.ID
	s.raises("CreateAccount by a binding", func() error { _, _, err := s.store.CreateAccount(s.ctx, bound); return err })
	revoke := func() error { return s.store.RevokeBinding(s.ctx, binding.ID, s.now) }
	s.raises("RevokeBinding", revoke, store.KindBindings)
	s.raises("RevokeBinding of a revoked one", s.fails(store.ErrRevoked, revoke))

	create := func() error {
		return s.store.CreateProvisioner(s.ctx, store.Provisioner{Name: "p", Type: "jwk", Created: s.now})
	}
	remove := func() error { return s.store.RemoveProvisioner(s.ctx, "p") }
	s.raises("CreateProvisioner", create, store.KindProvisioners)
	s.raises("CreateProvisioner of a name that is taken", s.fails(store.ErrClaimed, create))
	s.raises("RemoveProvisioner", remove, store.KindProvisioners)
	s.raises("RemoveProvisioner of none", s.fails(store.ErrNotFound, remove))

	incident := store.Incident{ID: s.id(), Opened: s.now}
	s.raises("CreateIncident", func() error { return s.store.CreateIncident(s.ctx, incident) }, store.KindIncidents)
	s.raises("CloseIncident", func() error { return s.store.CloseIncident(s.ctx, incident.ID, s.now) }, store.KindIncidents)
	s.raises("an admin token", func() error { s.adminToken(s.now); return nil })
}

func versionsOfRevocations(s *shared) {
	one, two := s.issue(s.ready("a.example")), s.issue(s.ready("b.example"))
	how := store.Revocation{At: s.now, Reason: 1}
	revoke := func() error { return s.store.Revoke(s.ctx, one.CertificateKey, how) }
	all := func() error {
		_, err := s.store.RevokeAll(s.ctx, []store.CertificateKey{one.CertificateKey, two.CertificateKey}, how)
		return err
	}
	s.raises("Revoke", revoke, store.KindRevocations)
	s.raises("Revoke of a revoked one", s.fails(store.ErrRevoked, revoke))
	s.raises("RevokeAll", all, store.KindRevocations)
	s.raises("RevokeAll of revoked ones", all)
	intent := s.begin(s.ready("c.example"))
	abandon := func() error {
		return s.store.AbandonIntent(s.ctx, intent.CertificateKey, s.now, nil, report("gone"))
	}
	s.raises("AbandonIntent", abandon, store.KindRevocations)
	s.raises("AbandonIntent of a settled one", s.fails(store.ErrNotFound, abandon))
}

func versionsOfIssuers(s *shared) {
	issuer := store.Issuer{ID: issuerID, SubjectKeyID: []byte("key"), Chain: [][]byte{[]byte("root")}}
	register := func() error { return s.store.RegisterIssuer(s.ctx, issuer) }
	s.raises("RegisterIssuer", register, store.KindIssuers)
	s.raises("RegisterIssuer again", register)
	issuer.Chain = append(issuer.Chain, []byte("another"))
	s.raises("RegisterIssuer with another chain", register, store.KindIssuers)
	s.raises("RegisterIssuer with another chain again", register)
	issuer.ID = "another"
	s.raises("RegisterIssuer of another", register, store.KindIssuers)
}
