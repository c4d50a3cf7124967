package acme_test

import (
	"net/http"
	"testing"

	"chancery/internal/server/servertest"
)

// BenchmarkGate is one request that does nothing but pass the gate and read its
// account, over HTTPS; the client's part of the work is in it.
func BenchmarkGate(b *testing.B) {
	ca := servertest.Start(b)
	c := ca.Client()
	b.ReportAllocs()
	for b.Loop() {
		succeeded(b, post(b, c, c.AccountURL, nil), http.StatusOK)
	}
}
