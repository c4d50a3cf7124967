package revocation

import (
	"sync"
	"time"

	"chancery/internal/serial"
	"chancery/internal/store"
)

const (
	// answerTime is how long an answer is given again, at most. What this node
	// revokes is forgotten at once, what others do when it learns of that.
	answerTime = 3 * time.Second
	// maxAnswers is how many answers of some 1.3 KB are held, twice at most.
	maxAnswers = 4096
)

// answerKey is a question: an issuer, and the DER of the CertID, which the
// answer repeats.
type answerKey struct{ issuerID, certID string }

type heldAnswer struct {
	*Document
	serial serial.Number
	until  time.Time
}

// answerCache holds signed answers for a short time. It has two generations:
// when the newer one is full, or old, the older one goes.
type answerCache struct {
	mu           sync.Mutex
	newer, older map[answerKey]heldAnswer // guarded by mu
	began        time.Time                // when newer did; guarded by mu
	epoch        uint64                   // grows when something is forgotten; guarded by mu
}

func newAnswerCache() *answerCache {
	return &answerCache{newer: map[answerKey]heldAnswer{}, older: map[answerKey]heldAnswer{}}
}

// get returns the answer, or nil.
func (c *answerCache) get(key answerKey, now time.Time) *Document {
	c.mu.Lock()
	defer c.mu.Unlock()
	held, found := c.newer[key]
	if !found {
		held, found = c.older[key]
	}
	if !found || !now.Before(held.until) {
		return nil
	}
	return held.Document
}

// epochNow is to be asked before the inventory is.
func (c *answerCache) epochNow() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch
}

// put holds an answer, unless something was revoked since the epoch: it may be
// about that.
func (c *answerCache) put(key answerKey, number serial.Number, document *Document, epoch uint64, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if epoch != c.epoch {
		return
	}
	if len(c.newer) >= maxAnswers || now.Sub(c.began) >= answerTime {
		c.older, c.newer, c.began = c.newer, map[answerKey]heldAnswer{}, now
	}
	c.newer[key] = heldAnswer{document, number, now.Add(answerTime)}
}

// forget drops what there is about certificates. There is little, for little
// time.
func (c *answerCache) forget(certificates []store.CertificateKey) {
	if len(certificates) == 0 {
		return
	}
	gone := make(map[store.CertificateKey]bool, len(certificates))
	for _, key := range certificates {
		gone[key] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	for _, generation := range []map[answerKey]heldAnswer{c.newer, c.older} {
		for key, held := range generation {
			if gone[store.CertificateKey{IssuerID: key.issuerID, Serial: held.serial}] {
				delete(generation, key)
			}
		}
	}
}

// forgetAll drops everything.
func (c *answerCache) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	clear(c.newer)
	clear(c.older)
}
