package servertest_test

import (
	"crypto/x509"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"chancery/internal/acme/acmetest"
	"chancery/internal/server/servertest"
	"chancery/internal/store/postgres"
	"chancery/internal/store/postgres/postgrestest"
	"chancery/internal/store/sqlite"
	"chancery/internal/store/transfer"
)

// holder is a client with what a CA has given it.
type holder struct {
	*testing.T
	ca      *servertest.CA
	client  *acmetest.Client
	chain   [][]byte
	leaf    *x509.Certificate
	done    *acmetest.Order // that the chain came of
	pending *acmetest.Order
}

func newHolder(t *testing.T, ca *servertest.CA) *holder {
	h := &holder{T: t, ca: ca, client: ca.Client()}
	h.issue(h.order("first.example.test"))
	h.pending = h.order("second.example.test")
	return h
}

func (h *holder) order(name string) *acmetest.Order {
	h.Helper()
	o, err := h.client.NewOrder(h.Context(), acmetest.DNS(name), nil)
	check(h, err)
	return o
}

// issue takes an order to its certificate, which becomes the holder's.
func (h *holder) issue(o *acmetest.Order) {
	h.Helper()
	check(h, h.client.Prove(h.Context(), o, "http-01", h.ca.Web.HTTP01))
	csr, err := acmetest.CSR(newKey(h), o.Identifiers)
	check(h, err)
	h.done, err = h.client.Finalize(h.Context(), o, csr)
	check(h, err)
	h.chain, err = h.client.Download(h.Context(), h.done)
	check(h, err)
	h.leaf, err = x509.ParseCertificate(h.chain[0])
	check(h, err)
}

// window is what the CA says of when to renew.
func (h *holder) window() string {
	h.Helper()
	id := acmetest.Encode(h.leaf.AuthorityKeyId) + "." + acmetest.Encode(h.leaf.SerialNumber.Bytes())
	resp, err := h.client.Get(h.Context(), h.client.Directory.RenewalInfo+"/"+id)
	check(h, err)
	if resp.Status != http.StatusOK {
		h.Errorf("the renewal information is %d %s", resp.Status, resp.Body)
	}
	return string(resp.Body)
}

// goesOn checks that all that a client has kept is good: its account, its order,
// its certificate, the order it has begun; and that it can revoke.
func (h *holder) goesOn(window string) {
	h.Helper()
	h.client.ForgetNonces()
	if resp, err := h.client.Post(h.Context(), h.client.AccountURL, nil); err != nil || resp.Status != http.StatusOK {
		h.Errorf("the account is %+v, %v", resp, err)
	}
	done, err := h.client.ReadOrder(h.Context(), h.done.URL)
	check(h, err)
	chain, err := h.client.Download(h.Context(), done)
	check(h, err)
	if done.Certificate != h.done.Certificate || !slices.EqualFunc(chain, h.chain, slices.Equal) {
		h.Errorf("the order has another certificate, %s", done.Certificate)
	}
	if got := h.window(); got != window {
		h.Errorf("the renewal information is %s, was %s", got, window)
	}
	old := h.chain[0]
	h.issue(h.pending)
	revocation := map[string]any{"certificate": acmetest.Encode(old)}
	_, err = h.client.Post(h.Context(), h.client.Directory.RevokeCert, revocation)
	check(h, err)
	_, err = h.client.Post(h.Context(), h.client.Directory.RevokeCert, revocation)
	if err == nil || !strings.Contains(err.Error(), "alreadyRevoked") {
		h.Errorf("the second revocation is %v", err)
	}
	h.pending = h.order("next.example.test")
}

func move(t *testing.T, from transfer.Source, to transfer.Destination) {
	t.Helper()
	m := transfer.Migration{From: from, To: to, Progress: func(transfer.Progress) {}}
	_, err := m.Run(t.Context())
	check(t, err)
}

// TestMigration moves a CA into PostgreSQL and back between the requests of a
// client, which notices nothing.
func TestMigration(t *testing.T) {
	t.Parallel()
	server, err := postgrestest.New()
	check(t, err)
	t.Cleanup(func() { check(t, server.Remove()) })
	url := server.Database(t)
	ca := servertest.Start(t)
	h := newHolder(t, ca)
	window := h.window()

	ca.Stop()
	file, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(ca.Dir, "chancery.db")})
	check(t, err)
	database, err := postgres.Open(t.Context(), postgres.Options{URL: url, Transferring: true})
	check(t, err)
	move(t, file.Transfer(), database.Transfer())
	check(t, file.Close())
	ca.Restart("store.url=" + url)
	h.goesOn(window)
	window = h.window()

	ca.Stop()
	back, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(ca.Dir, "back.db"), Transferring: true})
	check(t, err)
	move(t, database.Transfer(), back.Transfer())
	check(t, back.Close())
	check(t, database.Close())
	ca.Restart("store.url=", "store.path=back.db")
	h.goesOn(window)
}
