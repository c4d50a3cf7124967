package bench

import (
	"maps"
	"sync"
	"time"
)

// Snapshot is what has been measured so far.
type Snapshot struct {
	Elapsed  time.Duration // since the load began
	Issued   int
	Failed   int
	P50, P99 time.Duration // of the orders that succeeded; 0 while there is none
}

// Failure is one type of failures.
type Failure struct {
	Count   int
	Example string // the first of them, in words
}

// meter counts outcomes.
type meter struct {
	mu        sync.Mutex
	latencies histogram          // guarded by mu; of the orders that succeeded
	issued    int                // guarded by mu
	failed    int                // guarded by mu
	retried   int                // guarded by mu; requests
	failures  map[string]Failure // guarded by mu; by kind
	last      time.Time          // guarded by mu; when an order last ended
}

// record counts an order that ended at a moment with err, or with success.
func (m *meter) record(ended time.Time, latency time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ended.After(m.last) {
		m.last = ended
	}
	if err == nil {
		m.issued++
		m.latencies.add(latency)
		return
	}
	m.failed++
	kind := kindOf(err)
	failure := m.failures[kind]
	if failure.Count++; failure.Count == 1 {
		failure.Example = err.Error()
	}
	m.failures[kind] = failure
}

// retry counts a request that is sent again.
func (m *meter) retry() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.retried++
}

// snapshot is cheap enough for a live display.
func (m *meter) snapshot(elapsed time.Duration) Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Snapshot{
		Elapsed: elapsed, Issued: m.issued, Failed: m.failed,
		P50: m.latencies.quantile(0.50), P99: m.latencies.quantile(0.99),
	}
}

// result sums up a load that began at a moment. Time in which nothing ended
// any more does not count.
func (m *meter) result(began time.Time) *Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := &Result{
		Retried: m.retried, P90: m.latencies.quantile(0.90), Max: m.latencies.max, Failures: maps.Clone(m.failures),
		Snapshot: Snapshot{Issued: m.issued, Failed: m.failed, P50: m.latencies.quantile(0.50), P99: m.latencies.quantile(0.99)},
	}
	if !m.last.IsZero() {
		r.Elapsed = m.last.Sub(began)
	}
	return r
}
