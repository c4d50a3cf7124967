package token_test

import (
	"testing"

	"chancery/internal/token"
)

// BenchmarkSign is one certificate by one token, over HTTPS and with a durable
// store; the client's part of the work is in it.
func BenchmarkSign(b *testing.B) {
	ci := newSigner(b)
	ca := start(b, jwkSpec(b, "ci", ci, ""))
	csr := newCSR(b, newKey(b))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			sign(b, ca, token.SignRequest{Token: ci.token(b, claimsFor(ca, "ci", "a.corp")), CSR: csr}).issued(b)
		}
	})
}
