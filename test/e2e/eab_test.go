package e2e

import (
	"encoding/json"
	"testing"
)

// TestExternalAccountBinding asks for accounts with keys made by `eab create`.
// acme-tiny can't bind accounts and must be refused.
func TestExternalAccountBinding(t *testing.T) {
	t.Parallel()
	s := start(t, "acme.eab_required=true")
	for _, c := range clients() {
		if c.name == "acme-tiny" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			bound := c.connect(t, s, s.createEAB(t, c.name))
			s.verify(t, bound.obtain(t, s.order(c.name, c.ways[0])), s.order(c.name, c.ways[0]).names)
		})
	}

	t.Run("refused without", func(t *testing.T) {
		_, stderr, err := s.try(t, []string{"LEGO_CA_CERTIFICATES=" + s.root}, "lego", "--server", s.directory,
			"--path", s.work+"/unbound", "--email", contact, "--accept-tos", "--domains", "x."+zoneName,
			"--http", "--http.webroot", s.webroot, "run")
		if err == nil {
			t.Errorf("an account was made without a key: %s", stderr)
		}
	})
	t.Run("single use", func(t *testing.T) {
		key := s.createEAB(t, "once", "--single-use")
		connectAcmez(t, s, key)
		if _, err := tryAcmez(t, s, key); err == nil {
			t.Error("a single-use key made two accounts")
		}
	})
	t.Run("revoked", func(t *testing.T) {
		key := s.createEAB(t, "gone")
		s.chancery(t, "eab", "revoke", "--dir", s.dir, key.KID)
		if _, err := tryAcmez(t, s, key); err == nil {
			t.Error("a revoked key made an account")
		}
	})
}

// createEAB makes a key for external account bindings.
func (s *site) createEAB(t *testing.T, name string, flags ...string) *eab {
	t.Helper()
	printed := s.chancery(t, append([]string{"eab", "create", "--dir", s.dir, "--json", "--name", name}, flags...)...)
	key := new(eab)
	if err := json.Unmarshal([]byte(printed), key); err != nil || key.KID == "" || key.HMAC == "" {
		t.Fatalf("eab create --json: %v: %s", err, printed)
	}
	return key
}
