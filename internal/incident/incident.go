// Package incident says when certificates are to be renewed: in a window around
// two thirds of their lifetime, or earlier when they are revoked or an open
// incident concerns them. Windows of the same certificate never move by
// themselves, and those of many are spread over all the time there is. The
// package asks the store for incidents only when one was opened or closed, or
// a minute has passed; a certificate's window costs no query.
package incident

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"chancery/internal/inventory"
	"chancery/internal/store"
)

// Lister is what a Book reads.
type Lister interface {
	ListIncidents(ctx context.Context) ([]store.Incident, error)
}

// MaxOpen bounds the incidents that are open at a time, and so what a window
// costs.
const MaxOpen = 100

// stale is how long a Book goes without a look at the store: incidents may be
// opened on other machines.
const stale = time.Minute

// Book knows the open incidents. Its methods may be called by any number of
// goroutines.
type Book struct {
	from Lister
	log  *slog.Logger

	reading sync.Mutex // held while the store is asked; taken before mu

	mu      sync.Mutex
	read    time.Time // guarded by mu; when open was read, zero when it must be
	open    []Open    // guarded by mu; replaced, never changed
	changes uint64    // guarded by mu; counts calls of Forget
}

// NewBook returns a book that has read nothing.
func NewBook(from Lister, log *slog.Logger) *Book { return &Book{from: from, log: log} }

// Forget has the next question read the incidents anew.
func (b *Book) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read = time.Time{}
	b.changes++
}

// known are the incidents that were read last, and whether that is recent.
func (b *Book) known(now time.Time) (open []Open, changes uint64, recent bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open, b.changes, !b.read.IsZero() && now.Sub(b.read) < stale
}

// incidents are those open now. What was known before serves on when the store
// fails, for a window that is not early is better than none.
func (b *Book) incidents(ctx context.Context, now time.Time) []Open {
	if open, _, recent := b.known(now); recent {
		return open
	}
	b.reading.Lock()
	defer b.reading.Unlock()
	open, changes, recent := b.known(now)
	if recent { // somebody else has read them meanwhile
		return open
	}
	list, err := b.from.ListIncidents(ctx)
	if err != nil {
		b.log.ErrorContext(ctx, "couldn't read the incidents; going by those known", "error", err)
		return open
	}
	open = b.compile(ctx, list)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open = open; changes == b.changes { // else what was read may be of before the change
		b.read = now
	}
	return open
}

// compile makes those that are open ready.
func (b *Book) compile(ctx context.Context, list []store.Incident) (open []Open) {
	for _, one := range list {
		if !one.Closed.IsZero() {
			continue
		}
		opened, err := Compile(one)
		if err != nil {
			b.log.ErrorContext(ctx, "couldn't use an incident", "incident", one.ID, "error", err)
			continue
		}
		open = append(open, *opened)
	}
	return open
}

// Window is when the certificate is to be renewed (RFC 9773 §4.2), and the URL
// of a page that says why it is then; "" for none. The window of a revoked one
// is past.
func (b *Book) Window(ctx context.Context, c *store.Certificate, now time.Time) (start, end time.Time, explanation string) {
	start, end = ordinary(c)
	incidents := b.incidents(ctx, now)
	for i := range incidents {
		if !incidents[i].Affects(c) {
			continue
		}
		if early, until := incidents[i].window(c); early.Before(start) {
			start, end, explanation = early, until, incidents[i].Explanation
		}
	}
	if c.Revocation != nil {
		end = c.Revocation.At.Add(-time.Hour)
		start = end.Add(-time.Hour)
	}
	return start, end, explanation
}

// ordinary is the window of a certificate that nothing is wrong with: a percent
// of its lifetime to either side of two thirds of it.
func ordinary(c *store.Certificate) (start, end time.Time) {
	lifetime := c.NotAfter.Sub(c.NotBefore)
	middle := c.NotBefore.Add(lifetime * 2 / 3)
	half := max(lifetime/100, narrowest/2)
	return middle.Add(-half), middle.Add(half)
}

// Open is an incident with its query ready.
type Open struct {
	store.Incident
	query   inventory.Query
	matcher *inventory.Matcher
}

// Compile makes an incident's query ready.
func Compile(i store.Incident) (*Open, error) {
	o := &Open{Incident: i}
	if err := json.Unmarshal(i.Query, &o.query); err != nil {
		return nil, fmt.Errorf("couldn't read the query of incident %s: %w", i.ID, err)
	}
	var err error
	if o.matcher, err = o.query.Compile(i.Opened); err != nil {
		return nil, fmt.Errorf("couldn't use the query of incident %s: %w", i.ID, err)
	}
	return o, nil
}

// Affects reports whether the certificate is one of those to be renewed: what
// the query selects, and was good when the incident was opened.
func (o *Open) Affects(c *store.Certificate) bool {
	revokedBefore := c.Revocation != nil && c.Revocation.At.Before(o.Opened)
	return c.Issued.Before(o.Opened) && !c.NotAfter.Before(o.Opened) && !c.Abandoned && !revokedBefore && o.matcher.Matches(c)
}

// Affected selects from the store what Affects says yes to, and a few more.
func (o *Open) Affected() inventory.Query {
	q := o.query
	if q.IssuedBefore.IsZero() || q.IssuedBefore.After(o.Opened) {
		q.IssuedBefore = o.Opened
	}
	if q.ExpiresAfter.Before(o.Opened) {
		q.ExpiresAfter = o.Opened
	}
	return q
}

const (
	// windows is into how many windows an incident parts the time that it leaves.
	windows = 20
	// narrowest is the length of a window that all clients take: ones that count
	// in whole seconds refuse less.
	narrowest = 2 * time.Second
)

// window is the certificate's share of the time from Opened to RenewBy. It
// follows from its serial number, so that it is the same whenever it is asked
// for and on every machine.
func (o *Open) window(c *store.Certificate) (start, end time.Time) {
	h := sha256.New()
	_, _ = h.Write(c.Serial[:]) // a hash never fails
	_, _ = h.Write([]byte(o.ID))
	share := float64(binary.BigEndian.Uint32(h.Sum(nil))) / (1 << 32)
	whole := o.RenewBy.Sub(o.Opened)
	width := max(whole/windows, narrowest)
	start = o.Opened.Add(time.Duration(share * float64(max(whole-width, 0))))
	return start, start.Add(width)
}
