package acme

import (
	"testing"

	"chancery/internal/store"
)

func TestIssuedCache(t *testing.T) {
	t.Parallel()
	var cache issuedCache
	keyOf := func(n int) store.CertificateKey {
		key := store.CertificateKey{IssuerID: "issuer"}
		key.Serial[18], key.Serial[19] = byte(n>>8), byte(n)
		return key
	}
	for n := range 2 * maxIssued {
		cache.add(&store.Certificate{CertificateKey: keyOf(n), AccountID: "account", DER: []byte{byte(n)}})
		if found, ok := cache.get(keyOf(n)); !ok || found.accountID != "account" || found.der[0] != byte(n) {
			t.Fatalf("certificate %d: %v %v", n, found, ok)
		}
	}
	if _, ok := cache.get(keyOf(maxIssued - 1)); ok || len(cache.known) != maxIssued {
		t.Errorf("%d certificates are remembered, the oldest %v", len(cache.known), ok)
	}
	if _, ok := cache.get(keyOf(maxIssued)); !ok {
		t.Error("one of the last is forgotten")
	}
}
