package storetest

import (
	"encoding/json"
	"time"

	"chancery/internal/store"
)

func administrationTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"provisioners are kept by name":    provisionersAreKept,
		"provisioners are removed":         provisionersAreRemoved,
		"incidents are kept, newest first": incidentsAreKept,
		"incidents are closed once":        incidentsAreClosed,
		"admin tokens are kept":            adminTokensAreKept,
		"admin tokens are revoked once":    adminTokensAreRevoked,
	}
}

func (s *suite) provisioner(name string) store.Provisioner {
	s.Helper()
	p := store.Provisioner{Name: name, Type: "jwk", Spec: json.RawMessage(`{"keys": [1.0, "<&>"]}`), Created: s.now}
	s.must(s.store.CreateProvisioner(s.ctx, p))
	return p
}

func (s *suite) provisioners() []store.Provisioner {
	s.Helper()
	list, err := s.store.ListProvisioners(s.ctx)
	s.must(err)
	return list
}

func provisionersAreKept(s *suite) {
	s.same(len(s.provisioners()), 0)
	second, first := s.provisioner("b"), s.provisioner("a")
	s.same(s.provisioners(), []store.Provisioner{first, second})
	other := first
	other.Type = "oidc"
	s.is(s.store.CreateProvisioner(s.ctx, other), store.ErrClaimed)
	s.same(s.provisioners(), []store.Provisioner{first, second})
}

func provisionersAreRemoved(s *suite) {
	first, second := s.provisioner("a"), s.provisioner("b")
	s.is(s.store.RemoveProvisioner(s.ctx, first.Name), nil)
	s.same(s.provisioners(), []store.Provisioner{second})
	s.is(s.store.RemoveProvisioner(s.ctx, first.Name), store.ErrNotFound)
	s.provisioner("a")
	s.same(s.provisioners(), []store.Provisioner{first, second})
}

func (s *suite) incident(opened time.Time) store.Incident {
	s.Helper()
	i := store.Incident{
		ID: s.id(), Query: json.RawMessage(`{"issuer":"x"}`), Explanation: "https://a.example/why", Opened: opened, RenewBy: opened.Add(time.Hour),
	}
	s.must(s.store.CreateIncident(s.ctx, i))
	return i
}

func (s *suite) incidents() []store.Incident {
	s.Helper()
	list, err := s.store.ListIncidents(s.ctx)
	s.must(err)
	return list
}

func incidentsAreKept(s *suite) {
	s.same(len(s.incidents()), 0)
	newer, older := s.incident(s.now), s.incident(s.now.Add(-time.Hour))
	s.same(s.incidents(), []store.Incident{newer, older})
	if s.store.CreateIncident(s.ctx, newer) == nil {
		s.Error("two incidents have the same id")
	}
}

func incidentsAreClosed(s *suite) {
	i, other := s.incident(s.now), s.incident(s.now.Add(-time.Hour))
	i.Closed = s.now.Add(time.Minute)
	s.is(s.store.CloseIncident(s.ctx, i.ID, i.Closed), nil)
	s.is(s.store.CloseIncident(s.ctx, i.ID, s.now), store.ErrNotValid)
	s.is(s.store.CloseIncident(s.ctx, s.id(), s.now), store.ErrNotFound)
	s.same(s.incidents(), []store.Incident{i, other})
}

func (s *suite) adminToken(created time.Time) store.AdminToken {
	s.Helper()
	t := store.AdminToken{ID: s.id(), Name: "for tests", Role: "operator", Hash: [32]byte{1, 31: 2}, Created: created}
	s.must(s.store.CreateAdminToken(s.ctx, t))
	return t
}

func (s *suite) adminTokens() []store.AdminToken {
	s.Helper()
	list, err := s.store.ListAdminTokens(s.ctx)
	s.must(err)
	return list
}

func adminTokensAreKept(s *suite) {
	s.same(len(s.adminTokens()), 0)
	newer, older := s.adminToken(s.now), s.adminToken(s.now.Add(-time.Hour))
	s.same(s.adminTokens(), []store.AdminToken{newer, older})
	got, err := s.store.AdminToken(s.ctx, older.ID)
	s.is(err, nil)
	s.same(got, older)
	_, err = s.store.AdminToken(s.ctx, s.id())
	s.is(err, store.ErrNotFound)
	if s.store.CreateAdminToken(s.ctx, newer) == nil {
		s.Error("two tokens have the same id")
	}
}

func adminTokensAreRevoked(s *suite) {
	t := s.adminToken(s.now)
	t.Revoked = s.now.Add(time.Minute)
	s.is(s.store.RevokeAdminToken(s.ctx, t.ID, t.Revoked), nil)
	s.is(s.store.RevokeAdminToken(s.ctx, t.ID, s.now), store.ErrRevoked)
	s.is(s.store.RevokeAdminToken(s.ctx, s.id(), s.now), store.ErrNotFound)
	s.same(s.adminTokens(), []store.AdminToken{t})
}

func raceProvisioner(s *suite) {
	for range rounds {
		name := s.id()
		winner := s.oneWins(race(rivals, func(i int) error {
			return s.store.CreateProvisioner(s.ctx, store.Provisioner{Name: name, Type: string(rune('a' + i)), Created: s.now})
		}), store.ErrClaimed)
		list := s.provisioners()
		s.same(list[len(list)-1].Type, string(rune('a'+winner)))
		s.must(s.store.RemoveProvisioner(s.ctx, name))
	}
}
