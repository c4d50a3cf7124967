package sqlite

import (
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

// maxRecent bounds the records that are kept in memory, to a megabyte or two. An
// issuance has three, and reads them again within moments.
const maxRecent = 1024

// recent keeps the records that were written last, for most reads are of those,
// and reading from the file costs ten times more: after each commit readers
// begin with an empty cache. It is exact, since nobody else writes to the file:
// SQLite itself says which rows a transaction changes; these are forgotten
// before it is committed, and known again, as they are now, once it is durable.
// What is not here is in the file.
type recent struct {
	changed map[place]*record // by the transaction under way, nil for what is not known; owned by the writer's goroutine
	last    place             // the row that was changed last; owned by the writer's goroutine

	mu      sync.RWMutex
	records map[string]*record // guarded by mu; by name
	places  map[place]*record  // guarded by mu; the same
	ring    [maxRecent]*record // guarded by mu; the same in the order in which they came
	next    int                // guarded by mu; where in ring is the oldest
}

// place is a row of a table that records are kept of.
type place struct {
	table string
	rowid int64
}

// record is a store.Order without its authorizations, a store.Authorization or
// a store.Certificate. Nobody changes what these point to.
type record struct {
	at    place
	name  string
	value any // nil while it is not known
}

func newRecent() *recent {
	return &recent{changed: map[place]*record{}, records: map[string]*record{}, places: map[place]*record{}}
}

// watch has the connection that writes say what it changes.
func (r *recent) watch(c *conn) {
	c.recent = r
	c.UpdateHook(func(_ sqlite3.AuthorizerActionCode, _, table string, rowid int64) {
		switch table {
		case "orders", "authorizations", "certificates":
			r.last = place{table, rowid}
			r.changed[r.last] = nil
		}
	})
}

// keep is told what the row that was changed last is now.
func (r *recent) keep(name string, value any) { r.changed[r.last] = &record{r.last, name, value} }

// dismiss is for a transaction that was rolled back.
func (r *recent) dismiss() { clear(r.changed) }

// forget drops what is about to change.
func (r *recent) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for at := range r.changed {
		if old := r.places[at]; old != nil {
			old.value = nil
		}
	}
}

// learn takes up what has changed and is durable.
func (r *recent) learn() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for at, now := range r.changed {
		old := r.places[at]
		switch {
		case now == nil:
		case old != nil && old.name == now.name:
			old.value = now.value
		default:
			r.add(now)
		}
	}
	clear(r.changed)
}

// add puts a record in the place of the oldest. r.mu is held.
func (r *recent) add(now *record) {
	if oldest := r.ring[r.next]; oldest != nil {
		if r.places[oldest.at] == oldest { // else the row was deleted, and another has its number
			delete(r.places, oldest.at)
		}
		if r.records[oldest.name] == oldest {
			delete(r.records, oldest.name)
		}
	}
	r.ring[r.next] = now
	r.next = (r.next + 1) % maxRecent
	r.places[now.at], r.records[now.name] = now, now
}

// close forgets everything.
func (r *recent) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.records)
	clear(r.places)
}

// committed returns a record for readers, nil when it is not known. r.mu is held.
func (r *recent) committed(name string) any {
	if known := r.records[name]; known != nil {
		return known.value
	}
	return nil
}

// current returns a record as the transaction under way sees it. It is for the
// writer's goroutine, which alone changes the maps.
func (r *recent) current(name string) any {
	known := r.records[name]
	if known == nil {
		return nil
	}
	if now, touched := r.changed[known.at]; touched {
		known = now
	}
	if known == nil || known.name != name { // its row was deleted, and another has its number
		return nil
	}
	return known.value
}

func (r *recent) order(id string) (store.Order, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return whole(id, r.committed)
}

func (r *recent) authorization(id string) (authz store.Authorization, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	authz, ok = r.committed(id).(store.Authorization)
	return authz, ok
}

func (r *recent) certificate(key store.CertificateKey) (certificate store.Certificate, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	certificate, ok = r.committed(nameOf(key)).(store.Certificate)
	return certificate, ok
}

// whole returns an order with its authorizations, if all of them are found.
func whole(id string, find func(name string) any) (order store.Order, ok bool) {
	order, ok = find(id).(store.Order)
	for _, id := range order.AuthorizationIDs {
		authz, known := find(id).(store.Authorization)
		order.Authorizations, ok = append(order.Authorizations, authz), ok && known
	}
	return order, ok
}

// nameOf is the name of a certificate's record.
func nameOf(key store.CertificateKey) string { return string(key.Serial[:]) + key.IssuerID }

// round brings times to what the file keeps of them.
func round(times ...*time.Time) {
	for _, t := range times {
		*t = form.Time(form.Millis(*t))
	}
}
