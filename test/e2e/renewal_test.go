package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/go-acme/lego/v5/certcrypto"
	"github.com/go-acme/lego/v5/certificate"
	"go.uber.org/zap"
)

// TestClientsRenewByThemselves: a client that asks when to renew gets a new
// certificate once an incident concerns it, and once it was revoked with many
// others, and not before. Nobody tells it.
func TestClientsRenewByThemselves(t *testing.T) {
	t.Parallel()
	s := start(t, "acme.renewal_poll=1s")
	for name, watch := range map[string]func(*testing.T, *site, string) *watched{"lego": watchByLego, "certmagic": watchByCertmagic} {
		for cause, bring := range map[string]func(*testing.T, *site, string) func(){"incident": openIncident, "bulk revocation": revokeByPattern} {
			t.Run(name+" after "+cause, func(t *testing.T) {
				t.Parallel()
				zone := fmt.Sprintf("%s-%s.www.example.test", name, strings.Fields(cause)[0])
				client := watch(t, s, "a."+zone)
				client.staysAsItIs(t)
				finish := bring(t, s, zone)
				renewed := client.renews(t, s)
				s.verify(t, renewed, []string{"a." + zone})
				s.expectStatus(t, renewed, "valid")
				client.staysAsItIs(t) // once is enough
				finish()
			})
		}
	}
}

// watched is a certificate that a client keeps.
type watched struct {
	chain []byte
	look  func(*testing.T) []byte // what the client has now
}

// staysAsItIs looks a few times.
func (w *watched) staysAsItIs(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for range 5 {
		<-tick.C
		if !bytes.Equal(w.look(t), w.chain) {
			t.Fatal("the client renewed without a reason")
		}
	}
}

// renews waits for another certificate.
func (w *watched) renews(t *testing.T, s *site) []byte {
	t.Helper()
	s.await(t, s.server, "the client to renew", func() error {
		chain := w.look(t)
		if bytes.Equal(chain, w.chain) {
			return fmt.Errorf("it has not")
		}
		w.chain = chain
		return nil
	})
	return w.chain
}

// openIncident leaves a few seconds for renewals. What it returns checks that
// the renewal is counted, and closes the incident.
func openIncident(t *testing.T, s *site, zone string) (finish func()) {
	t.Helper()
	var opened struct{ ID string }
	text := s.chancery(t, "incident", "open", "--dir", s.dir, "--name", "*."+zone, "--within", "4s", "--explanation", "https://wiki.corp/why", "--json")
	if err := json.Unmarshal([]byte(text), &opened); err != nil || !strings.Contains(text, `"affected": 1`) {
		t.Fatalf("%v: %s", err, text)
	}
	return func() {
		if text := s.chancery(t, "incident", "close", "--dir", s.dir, opened.ID, "--json"); !strings.Contains(text, `"renewed": 1`) {
			t.Errorf("in the end: %s", text)
		}
	}
}

func revokeByPattern(t *testing.T, s *site, zone string) (finish func()) {
	t.Helper()
	preview := s.chancery(t, "certs", "revoke", "--dir", s.dir, "--name", "*."+zone, "--dry-run")
	if preview == "" {
		t.Error("nothing would be revoked")
	}
	done := s.chancery(t, "certs", "revoke", "--dir", s.dir, "--name", "*."+zone, "--reason", "superseded")
	if shown, revoked := strings.Fields(preview), strings.Fields(done); len(shown) != len(revoked) || shown[5] != revoked[5] {
		t.Errorf("the preview:\n%s\nwhat happened:\n%s", preview, done)
	}
	return func() {}
}

// watchByLego does what lego's own program does each time it runs: it asks when
// to renew and, if it is time, renews.
func watchByLego(t *testing.T, s *site, name string) *watched {
	l := newLegoLibrary(t, s, nil).(*legoLibrary)
	chain := l.obtain(t, order{"http-01", []string{name}})
	return &watched{chain, func(t *testing.T) []byte {
		t.Helper()
		has := l.obtained[name]
		info, err := l.client.Certificate.GetRenewalInfo(t.Context(), leafOf(t, has.Certificate))
		if err != nil {
			t.Fatal(err)
		}
		if info.ShouldRenewAt(time.Now(), 0) == nil {
			return has.Certificate
		}
		renewed, err := l.client.Certificate.Renew(t.Context(), *has, &certificate.RenewOptions{KeyType: certcrypto.EC256, Bundle: true, UseARICertID: true})
		if err != nil {
			t.Fatal(err)
		}
		l.obtained[name] = renewed
		return renewed.Certificate
	}}
}

// watchByCertmagic has certmagic manage the name and only looks at its storage.
func watchByCertmagic(t *testing.T, s *site, name string) *watched {
	t.Helper()
	var config *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return config, nil },
		RenewCheckInterval: 200 * time.Millisecond, OCSPCheckInterval: time.Hour, Logger: zap.NewNop(),
	})
	t.Cleanup(cache.Stop)
	client := &certmagicClient{site: s}
	config = certmagic.New(cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: filepath.Join(s.work, "watching", name)}, Logger: zap.NewNop(),
	})
	config.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(config, client.issuer(t, "dns-01"))}
	if err := config.ManageSync(context.WithoutCancel(t.Context()), []string{name}); err != nil {
		t.Fatal(err)
	}
	look := func(t *testing.T) []byte { return client.stored(t, config, name) }
	return &watched{look(t), look}
}
