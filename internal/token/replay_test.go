package token_test

import (
	"net/http"
	"sync"
	"testing"

	"chancery/internal/inventory"
	"chancery/internal/server/servertest"
	"chancery/internal/store/postgres/postgrestest"
	"chancery/internal/token"
)

// TestReplay sends one token several times at once, again and again, to a
// server on each store: each token gives one certificate.
func TestReplay(t *testing.T) {
	t.Parallel()
	ci := newSigner(t)
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		replay(t, ci, start(t, jwkSpec(t, "ci", ci, "")))
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		server, err := postgrestest.New()
		check(t, err)
		t.Cleanup(func() { check(t, server.Remove()) })
		replay(t, ci, start(t, jwkSpec(t, "ci", ci, ""), "store.url="+server.Database(t)))
	})
}

func replay(t *testing.T, ci *signer, ca *servertest.CA) {
	t.Helper()
	const rounds, copies = 50, 8
	csr, op := newCSR(t, newKey(t)), operator(t, ca)
	before, err := op.CountCertificates(t.Context(), inventory.Query{})
	check(t, err)
	for range rounds {
		request := token.SignRequest{Token: ci.token(t, claimsFor(ca, "ci", "a.corp")), CSR: csr}
		answers := make(chan answer, copies)
		var sending sync.WaitGroup
		for range copies {
			sending.Go(func() { answers <- sign(t, ca, request) })
		}
		sending.Wait()
		close(answers)
		issued := 0
		for answered := range answers {
			if answered.Status == http.StatusCreated {
				issued++
				continue
			}
			answered.refused(t, http.StatusForbidden, "tokenUsed", "was used")
		}
		if issued != 1 {
			t.Fatalf("one token gave %d certificates", issued)
		}
	}
	after, err := op.CountCertificates(t.Context(), inventory.Query{})
	if check(t, err); after.Valid-before.Valid != rounds {
		t.Errorf("the inventory has %d more certificates, want %d", after.Valid-before.Valid, rounds)
	}
	ca.Restart()
	request := token.SignRequest{Token: ci.token(t, claimsFor(ca, "ci", "a.corp")), CSR: csr}
	sign(t, ca, request).issued(t)
	ca.Restart()
	sign(t, ca, request).refused(t, http.StatusForbidden, "tokenUsed", "was used")
}

func TestReuse(t *testing.T) {
	t.Parallel()
	ci := newSigner(t)
	ca := start(t, jwkSpec(t, "ci", ci, ", reuse: true"))
	request := token.SignRequest{Token: ci.token(t, claimsFor(ca, "ci", "a.corp")), CSR: newCSR(t, newKey(t))}
	for range 2 {
		sign(t, ca, request).issued(t)
	}
}
