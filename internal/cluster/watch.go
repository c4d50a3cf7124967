package cluster

import (
	"context"
	"maps"
	"sync"
	"time"

	"chancery/internal/store"
)

const (
	// What is kept is never trusted for longer than these two together after
	// another node has changed it.
	askEvery = 300 * time.Millisecond
	askTime  = 700 * time.Millisecond

	reloadTime   = 10 * time.Second
	reloadAgain  = 500 * time.Millisecond
	reloadRarely = 30 * time.Second
)

// watch asks the store again and again what has changed, until ctx is done.
func (m *Member) watch(ctx context.Context) {
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	var known map[store.Kind]int64 // nil when not known
	away := false
	for ctx.Err() == nil {
		versions, err := m.versions(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			known = nil
			m.forgetAll()
			if !away {
				m.deps.Log.WarnContext(ctx, "the store does not say what other nodes have changed; nothing is kept until it does", "error", err)
			}
			away = true
		default:
			m.compare(known, versions)
			known = versions
			if away {
				m.deps.Log.InfoContext(ctx, "the store is back")
			}
			away = false
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

func (m *Member) versions(ctx context.Context) (map[store.Kind]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return m.deps.Store.Versions(ctx)
}

// compare tells of the kinds that have changed; nil is not known.
func (m *Member) compare(known, versions map[store.Kind]int64) {
	for kind, forget := range m.deps.Forget {
		if known == nil || known[kind] != versions[kind] {
			forget()
		}
	}
	for kind := range m.deps.Reload {
		if known == nil || known[kind] != versions[kind] {
			m.reloads.add(kind)
		}
	}
}

func (m *Member) forgetAll() {
	for _, forget := range m.deps.Forget {
		forget()
	}
}

// reloads are the kinds that are to be read again.
type reloads struct {
	wake chan struct{} // holds a token when there are any

	mu  sync.Mutex
	due map[store.Kind]bool // guarded by mu
}

func (r *reloads) add(kind store.Kind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.due[kind] = true
	wake(r.wake)
}

// take returns what is due, which then is so no more.
func (r *reloads) take() map[store.Kind]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := r.due
	r.due = map[store.Kind]bool{}
	return due
}

// reload reads again what was changed, until ctx is done. It keeps watch from
// waiting. What fails is tried again, less and less often.
func (m *Member) reload(ctx context.Context) {
	var failed map[store.Kind]bool
	var again <-chan time.Time
	pause := reloadAgain
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.reloads.wake:
		case <-again:
		}
		due := m.reloads.take()
		maps.Copy(due, failed)
		failed = m.reloadAll(ctx, due)
		if len(failed) == 0 {
			pause, again = reloadAgain, nil
			continue
		}
		again, pause = time.After(pause), min(2*pause, reloadRarely)
	}
}

// reloadAll reads kinds again and returns those that it couldn't.
func (m *Member) reloadAll(ctx context.Context, due map[store.Kind]bool) map[store.Kind]bool {
	failed := map[store.Kind]bool{}
	for kind := range due {
		if err := m.reloadOnce(ctx, kind); err != nil && ctx.Err() == nil {
			m.deps.Log.ErrorContext(ctx, "couldn't take over what another node has changed; will try again", "kind", kind, "error", err)
			failed[kind] = true
		}
	}
	return failed
}

func (m *Member) reloadOnce(ctx context.Context, kind store.Kind) error {
	ctx, cancel := context.WithTimeout(ctx, reloadTime)
	defer cancel()
	return m.deps.Reload[kind](ctx)
}
