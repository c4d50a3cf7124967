package e2e

import (
	"errors"
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
