package e2e

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mholt/acmez/v3/acme"
)

// TestAccount takes an account through its life (RFC 8555 §7.3.2, §7.3.5, §7.3.6).
func TestAccount(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := connectAcmez(t, s, nil)
	o := order{"http-01", []string{"account." + zoneName}}

	same := c.account
	same.Location = "" // so that the request carries the key
	again, err := c.client.NewAccount(t.Context(), same)
	if err != nil || again.Location != c.account.Location {
		t.Fatalf("the same key gave account %q, not %q: %v", again.Location, c.account.Location, err)
	}
	c.account.Contact = []string{"mailto:other@example.test"}
	updated, err := c.client.UpdateAccount(t.Context(), c.account)
	if err != nil || len(updated.Contact) != 1 || updated.Contact[0] != c.account.Contact[0] {
		t.Fatalf("the contact is %q after the update: %v", updated.Contact, err)
	}

	old := c.account
	if c.account, err = c.client.AccountKeyRollover(t.Context(), old, newKey(t)); err != nil {
		t.Fatal(err)
	}
	chain := c.obtain(t, o)
	if _, err := c.client.GetAccount(t.Context(), old); err == nil {
		t.Error("the old key still opens the account")
	}

	closed := c.account
	closed.Status = "deactivated"
	if _, err := c.client.UpdateAccount(t.Context(), closed); err != nil {
		t.Fatal(err)
	}
	_, err = c.request(t, o, "", nil)
	if problem := new(acme.Problem); !errors.As(err, problem) || problem.Type != acme.ProblemTypeUnauthorized {
		t.Errorf("a deactivated account got %v, expected unauthorized", err)
	}
	s.expectStatus(t, chain, "valid")
}

// TestPersistentRecord proves names by a record that stays
// (draft-ietf-acme-dns-persist), which is offered only when configured.
func TestPersistentRecord(t *testing.T) {
	t.Parallel()
	s := start(t, "acme.dns_persist_issuers=ca."+zoneName)
	c := connectAcmez(t, s, nil)
	o := s.order("acmez", acme.ChallengeTypeDNSPersist01)
	live(t, s, c, o)
}

// TestAccountPrograms has programs change, re-key and close their accounts.
func TestAccountPrograms(t *testing.T) {
	t.Parallel()
	s := start(t)
	t.Run("certbot", func(t *testing.T) {
		c := newCertbot(t, s, nil).(certbot)
		c.certbot(t, "register", "--agree-tos", "--email", contact)
		c.certbot(t, "update_account", "--email", "certbot@"+zoneName)
		s.expectAccount(t, "certbot@"+zoneName, "valid")
		c.certbot(t, "unregister")
		s.expectAccount(t, "certbot@"+zoneName, "deactivated")
	})
	t.Run("uacme", func(t *testing.T) {
		u := newUacme(t, s, nil).(uacme)
		u.uacme(t, "", "update", "uacme@"+zoneName)
		u.uacme(t, "", "newkey")
		o := s.order("uacme", "http-01")
		s.verify(t, u.obtain(t, o), o.names)
		s.expectAccount(t, "uacme@"+zoneName, "valid")
		u.uacme(t, "", "deactivate")
		s.expectAccount(t, "uacme@"+zoneName, "deactivated")
	})
	t.Run("dehydrated", func(t *testing.T) {
		d := newDehydrated(t, s, nil).(dehydrated)
		config := filepath.Join(d.base, "config")
		write(t, config, append(read(t, config), "CONTACT_EMAIL=dehydrated@"+zoneName+"\n"...))
		d.dehydrated(t, "--account")
		s.expectAccount(t, "dehydrated@"+zoneName, "valid")
		d.dehydrated(t, "--deactivate")
		s.expectAccount(t, "dehydrated@"+zoneName, "deactivated")
	})
}

// expectAccount compares the status of the account with an address.
func (s *site) expectAccount(t *testing.T, address, status string) {
	t.Helper()
	var listed []struct {
		Status  string
		Contact []string
	}
	printed := s.chancery(t, "accounts", "list", "--dir", s.dir, "--json")
	if err := json.Unmarshal([]byte(printed), &listed); err != nil {
		t.Fatalf("accounts list --json: %v\n%s", err, printed)
	}
	for _, account := range listed {
		if slices.Contains(account.Contact, "mailto:"+address) {
			if account.Status != status {
				t.Errorf("the account of %s is %s, expected %s", address, account.Status, status)
			}
			return
		}
	}
	t.Errorf("no account of %s in %s", address, printed)
}
