package acme

import (
	"sync"

	"chancery/internal/store"
)

// maxIssued is how many certificates are remembered: clients fetch theirs within
// moments.
const maxIssued = 256

// issuedCache remembers whose the certificates are that the door issued last,
// and their DER: what never changes of them, whichever node does what. So the
// request that follows each issuance asks nothing of the store.
type issuedCache struct {
	mu    sync.Mutex
	known map[store.CertificateKey]issuedCertificate // guarded by mu
	ring  [maxIssued]store.CertificateKey            // guarded by mu; the same in the order in which they came
	next  int                                        // guarded by mu; where in ring is the oldest
}

type issuedCertificate struct {
	accountID string
	der       []byte
}

func (c *issuedCache) add(certificate *store.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = make(map[store.CertificateKey]issuedCertificate, maxIssued)
	}
	delete(c.known, c.ring[c.next])
	c.ring[c.next] = certificate.CertificateKey
	c.next = (c.next + 1) % maxIssued
	c.known[certificate.CertificateKey] = issuedCertificate{certificate.AccountID, certificate.DER}
}

func (c *issuedCache) get(key store.CertificateKey) (issuedCertificate, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.known[key]
	return found, ok
}
