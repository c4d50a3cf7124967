package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"chancery/internal/store"
)

// The parts of a lease's life.
const (
	renewShare  = 3  // it is renewed when a third of its life is over
	lookShare   = 15 // how often free ones are looked for
	marginShare = 5  // how long before its end its holder holds it no more
)

// leases are the jobs that the node would do, and those that it has.
type leases struct {
	wake chan struct{} // holds a token when the jobs have changed

	mu   sync.Mutex
	jobs []string             // guarded by mu
	held map[string]heldLease // guarded by mu; written by keepLeases only
}

type heldLease struct {
	store.Lease
	renew, until time.Time // by Elapsed
}

func (l *leases) wanted() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.jobs
}

// SetJobs says which jobs the node is ready to do. Those that are not among
// them any more are given back.
func (m *Member) SetJobs(jobs []string) {
	m.leases.mu.Lock()
	defer m.leases.mu.Unlock()
	m.leases.jobs = slices.Sorted(slices.Values(jobs))
	wake(m.leases.wake)
}

// Held reports whether the node is the one to do the job now, and the fence to
// do it under. It ends some time before another can get the job.
func (m *Member) Held(job string) (store.Fence, bool) {
	m.leases.mu.Lock()
	defer m.leases.mu.Unlock()
	held, found := m.leases.held[job]
	if !found || !m.deps.Elapsed().Before(held.until) {
		return store.Fence{}, false
	}
	return held.Fence(), true
}

// keepLeases takes and renews leases until ctx is done.
func (m *Member) keepLeases(ctx context.Context) {
	ticker := time.NewTicker(m.deps.LeaseLife / lookShare)
	defer ticker.Stop()
	for {
		m.keepOnce(ctx)
		select {
		case <-ctx.Done():
			return
		case <-m.leases.wake:
		case <-ticker.C:
		}
	}
}

// keepOnce renews what is due, takes what is free, and gives back what is not
// wanted. What fails is tried the next time.
func (m *Member) keepOnce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, m.deps.LeaseLife/renewShare)
	defer cancel()
	var missing []string
	wanted := m.leases.wanted()
	for _, job := range wanted {
		switch held, found := m.leases.held[job]; {
		case !found:
			missing = append(missing, job)
		case !m.deps.Elapsed().Before(held.renew):
			m.take(ctx, job)
		}
	}
	for job, held := range m.leases.held {
		if !slices.Contains(wanted, job) && m.deps.Store.GiveLease(ctx, held.Lease) == nil {
			m.drop(job)
		}
	}
	if len(missing) > 0 {
		m.takeFree(ctx, missing)
	}
}

// takeFree takes those of the jobs that nobody has. It looks first: trying
// would be a write.
func (m *Member) takeFree(ctx context.Context, jobs []string) {
	taken, err := m.deps.Store.ListLeases(ctx)
	if err != nil {
		return
	}
	for _, job := range jobs {
		if !slices.ContainsFunc(taken, func(l store.Lease) bool { return l.Name == job && l.Holder != m.id }) {
			m.take(ctx, job)
		}
	}
}

// take takes or renews a lease. Its end is reckoned from before the store was
// asked.
func (m *Member) take(ctx context.Context, job string) {
	asked, life := m.deps.Elapsed(), m.deps.LeaseLife
	lease, err := m.deps.Store.TakeLease(ctx, job, m.id, life)
	if errors.Is(err, store.ErrClaimed) {
		m.drop(job)
	}
	if err != nil {
		return
	}
	m.leases.mu.Lock()
	defer m.leases.mu.Unlock()
	if before, found := m.leases.held[job]; !found || before.Token != lease.Token {
		m.deps.Log.InfoContext(ctx, "this node does a job from now on", "job", job)
	}
	m.leases.held[job] = heldLease{lease, asked.Add(life / renewShare), asked.Add(life - life/marginShare)}
}

func (m *Member) drop(job string) {
	m.leases.mu.Lock()
	defer m.leases.mu.Unlock()
	if _, found := m.leases.held[job]; found {
		m.deps.Log.Info("another node does a job from now on", "job", job)
	}
	delete(m.leases.held, job)
}

// giveLeases gives all leases back.
func (m *Member) giveLeases(ctx context.Context) error {
	m.leases.mu.Lock()
	held := m.leases.held
	m.leases.held = map[string]heldLease{}
	m.leases.mu.Unlock()
	var errs []error
	for _, lease := range held {
		errs = append(errs, m.deps.Store.GiveLease(ctx, lease.Lease))
	}
	return errors.Join(errs...)
}
