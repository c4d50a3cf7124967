package token_test

import (
	"net/http"
	"sync"
	"testing"

	"chancery/internal/token"
)

// TestReplay sends one token several times at once, again and again: each gives
// one certificate.
func TestReplay(t *testing.T) {
	t.Parallel()
	const rounds, copies = 50, 8
	ci := newSigner(t)
	ca := start(t, jwkSpec(t, "ci", ci, ""))
	csr := newCSR(t, newKey(t))
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
	if found := len(visible(t, ca)); found != rounds {
		t.Errorf("the inventory has %d certificates, want %d", found, rounds)
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
