package cloudkms

import (
	"context"
	"sync"
	"time"
)

// The times of renewing what ends.
const (
	renewBefore  = 5 * time.Minute  // its end
	renewAgain   = 30 * time.Second // after renewing failed, while the old one is good
	renewTimeout = time.Second      // of that, so that the old one is used in time
)

// Cache keeps credentials that end, and gets new ones in time.
type Cache[C comparable] struct {
	// Fetch gets credentials and when they end; the zero time is never.
	Fetch func(ctx context.Context) (C, time.Time, error)
	Now   func() time.Time

	mu    sync.Mutex // held while fetching: one does, the others wait for it
	value C
	known bool
	ends  time.Time
	renew time.Time // not before
}

// Get returns credentials that are good, as far as is known.
func (c *Cache[C]) Get(ctx context.Context) (C, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.Now()
	good := c.known && (c.ends.IsZero() || now.Before(c.ends))
	if good && (c.ends.IsZero() || now.Before(c.renew)) {
		return c.value, nil
	}
	if good {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, renewTimeout)
		defer cancel()
	}
	value, ends, err := c.Fetch(ctx)
	switch {
	case err == nil:
		c.value, c.ends, c.known, c.renew = value, ends, true, ends.Add(-renewBefore)
		if c.renew.Before(now) { // they are short-lived
			c.renew = now.Add(renewAgain)
		}
	case good:
		c.renew = now.Add(renewAgain)
	default:
		return value, err
	}
	return c.value, nil
}

// Drop forgets credentials that a service has refused, unless there are others
// already.
func (c *Cache[C]) Drop(refused C) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.value == refused {
		c.known = false
	}
}
