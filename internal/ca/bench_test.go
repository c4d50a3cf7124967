package ca_test

import (
	"testing"

	"chancery/internal/ca"
	"chancery/internal/identifier"
)

// BenchmarkIssue is the road: policy, profile, lint and signature. Its store
// keeps nothing.
func BenchmarkIssue(b *testing.B) {
	r := newRoad(b, nil, func(d *ca.Deps) { d.Store = &recorder{} })
	request := ca.Request{
		Door: "acme", AccountID: "account", PublicKey: newPublicKey(b), Profile: "tls-server",
		Identifiers: []identifier.Identifier{{Type: identifier.DNS, Value: "www.corp"}},
	}
	b.ReportAllocs()
	for b.Loop() {
		r.issuer.signed = nil
		if _, err := r.Issue(b.Context(), request); err != nil {
			b.Fatal(err)
		}
	}
}
