package revocation

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"chancery/internal/store"
)

const (
	lookEvery = time.Second      // how often stale lists are looked for
	lookBatch = 500              // how many are read at once
	tellEvery = time.Minute      // how often the same trouble is logged
	atOnce    = 8                // how many lists of an issuer are made at the same time
	maxTime   = 30 * time.Second // for one list
)

// pace is how far an issuer's lists are.
type pace struct {
	assigning sync.Mutex  // held while a partition begins
	busy      atomic.Bool // somebody makes lists

	// Owned by who has set busy.
	fullAfter time.Time // when the full list may be made again
	told      time.Time // when trouble was last logged

	overdue []error // why lists could not be made before the last ones ended; guarded by mu of Lists
}

func (l *Lists) paceOf(issuerID string) *pace {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.paces[issuerID] == nil {
		l.paces[issuerID] = &pace{}
	}
	return l.paces[issuerID]
}

// overdue collects why lists are overdue, of the issuers there are now. It is
// called with mu held.
func (l *Lists) overdue() (all []error) {
	for id := range *l.issuers.Load() {
		if p := l.paces[id]; p != nil {
			all = append(all, p.overdue...)
		}
	}
	return all
}

// Trouble says which list has ended without another in its place, and why; nil
// when none has.
func (l *Lists) Trouble() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if all := l.overdue(); len(all) > 0 {
		return all[0]
	}
	return nil
}

// Run makes lists anew when something was revoked, and when half of their life
// is over, until ctx is done. It is called once.
func (l *Lists) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		l.publishStale(ctx, &work)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// publishStale begins to make the stale lists of each issuer, unless that is
// still at it: one whose key hangs keeps no other waiting.
func (l *Lists) publishStale(ctx context.Context, work *sync.WaitGroup) {
	for id := range *l.issuers.Load() {
		p := l.paceOf(id)
		if !p.busy.CompareAndSwap(false, true) {
			continue
		}
		work.Go(func() {
			defer p.busy.Store(false)
			l.publishOf(ctx, id, p)
		})
	}
}

// held reports whether an issuer's lists are this node's to make, and what
// fences them.
func (l *Lists) held(issuerID string) (store.Fence, bool) {
	if l.deps.Lease == nil {
		return store.Fence{}, true
	}
	return l.deps.Lease.Held(issuerID)
}

// publishOf makes all stale lists of an issuer. What fails is stale the next
// time too. Lists that are another node's to make are its trouble.
func (l *Lists) publishOf(ctx context.Context, issuerID string, p *pace) {
	for ctx.Err() == nil {
		fence, held := l.held(issuerID)
		if !held {
			l.setOverdue(p, nil)
			return
		}
		now, lifetime := l.deps.Now(), l.settings.Load().ListLifetime
		stale, err := l.deps.Store.StaleLists(ctx, []string{issuerID}, now.Add(lifetime/2), now.Add(lifetime), lookBatch)
		if err != nil {
			l.tell(ctx, p, err)
			return
		}
		made, failed := l.publishAll(ctx, l.wanted(stale, p), p, fence)
		l.judge(ctx, p, failed)
		if len(failed) > 0 || made == 0 || len(stale) < lookBatch {
			return
		}
	}
}

// wanted leaves out full lists that nobody wants, and those whose turn has not
// come: making one costs what there is revoked in all.
func (l *Lists) wanted(stale []store.StaleList, p *pace) []store.StaleList {
	full, now := l.settings.Load().FullList, l.deps.Now()
	return slices.DeleteFunc(stale, func(s store.StaleList) bool {
		return s.Partition == 0 && (!full || now.Before(p.fullAfter))
	})
}

// failedList is a list that could not be made.
type failedList struct {
	store.StaleList
	err error
}

// publishAll makes lists, some at the same time.
func (l *Lists) publishAll(ctx context.Context, stale []store.StaleList, p *pace, fence store.Fence) (made int, failed []failedList) {
	var mu sync.Mutex
	var work sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, s := range stale {
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			started := time.Now()
			_, err := l.publish(ctx, s, fence)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, failedList{s, err})
				return
			}
			made++
			if s.Partition == 0 {
				p.fullAfter = l.deps.Now().Add(fullShare * time.Since(started))
			}
		})
	}
	work.Wait()
	return made, failed
}

// fullShare bounds the share of the time that goes into full lists: 1 in 10.
const fullShare = 10

// judge finds out which of the lists that could not be made are missed by now.
func (l *Lists) judge(ctx context.Context, p *pace, failed []failedList) {
	var overdue []error
	for _, f := range failed {
		before, err := l.List(ctx, f.IssuerID, f.Partition)
		if errors.Is(err, store.ErrNotFound) || err == nil && l.deps.Now().After(before.NextUpdate) {
			overdue = append(overdue, f.err)
		}
		l.tell(ctx, p, f.err)
	}
	l.setOverdue(p, overdue)
}

func (l *Lists) setOverdue(p *pace, overdue []error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.overdue = overdue
	if l.deps.Overdue != nil {
		l.deps.Overdue(len(l.overdue()))
	}
}

// tell logs trouble, now and then.
func (l *Lists) tell(ctx context.Context, p *pace, err error) {
	if now := l.deps.Now(); ctx.Err() == nil && now.Sub(p.told) >= tellEvery {
		p.told = now
		l.deps.Log.Error("couldn't renew revocation lists; those there are stay, and it is tried again", "error", err)
	}
}
