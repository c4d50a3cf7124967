package revocation

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"chancery/internal/store"
)

// ListStore is what Lists needs of the store.
type ListStore interface {
	NewPartition(ctx context.Context, issuerID string, now time.Time) (store.Partition, error)
	NewestPartition(ctx context.Context, issuerID string) (store.Partition, error)
	StaleLists(ctx context.Context, issuerIDs []string, nextUpdateBefore, nextUpdateAfter time.Time, limit int) ([]store.StaleList, error)
	Revoked(ctx context.Context, issuerID string, partition int64, expiredAfter time.Time, each func(store.RevokedEntry) error) error
	PublishList(ctx context.Context, list store.RevocationList, basis int64) error
	RevocationList(ctx context.Context, issuerID string, partition int64) (store.RevocationList, error)
}

// Lease lets one node of several publish.
type Lease interface {
	// Held reports whether this node may publish now.
	Held() bool
}

// ListDeps are what Lists work with.
type ListDeps struct {
	Store    ListStore
	Issuers  []Issuer
	Settings Settings
	Lease    Lease // nil when there is only this node
	Now      func() time.Time
	Jitter   func() float64 // from 0 to 1, so that lists are not all due at once
	Log      *slog.Logger
	// Published is told of each list that was put in force, and Overdue how many
	// lists could not be made before the last ones ended. Both may be nil.
	Published func(issuerID string, full bool, nextUpdate time.Time)
	Overdue   func(count int)
}

// Lists are the revocation lists of all issuers whose keys are at hand. Its
// methods may be called by any number of goroutines.
type Lists struct {
	deps     ListDeps
	issuers  atomic.Pointer[map[string]Issuer] // by ID
	settings atomic.Pointer[Settings]
	cache    *listCache
	reading  singleflight.Group

	current   sync.Map   // issuer's ID → *assignment
	assigning sync.Mutex // held while a partition begins

	// Owned by Run.
	fullAfter map[string]time.Time // when an issuer's full list may be made again
	told      time.Time            // when trouble was last logged

	trouble atomic.Pointer[error] // why a list is overdue; nil when none is
}

// cacheSize is how many octets of lists are at hand.
const cacheSize = 64 << 20

// NewLists returns the lists; Run keeps them true.
func NewLists(deps ListDeps) *Lists {
	l := &Lists{deps: deps, cache: newListCache(cacheSize), fullAfter: map[string]time.Time{}}
	l.SetIssuers(deps.Issuers)
	l.Configure(deps.Settings)
	return l
}

// SetIssuers replaces the issuers: all that sign or have signed, and whose keys
// are at hand.
func (l *Lists) SetIssuers(issuers []Issuer) {
	byID := make(map[string]Issuer, len(issuers))
	for _, issuer := range issuers {
		byID[issuer.ID()] = issuer
	}
	l.issuers.Store(&byID)
}

// Configure replaces the settings.
func (l *Lists) Configure(settings Settings) { l.settings.Store(&settings) }

// List returns the list in force of a partition, or with 0 the issuer's full
// one. While the store can't answer it is the last one known. The error wraps
// store.ErrNotFound when there is none.
func (l *Lists) List(ctx context.Context, issuerID string, partition int64) (*Document, error) {
	key := listKey{issuerID, partition}
	if held := l.cache.get(key, l.deps.Now().Add(-checkAfter)); held != nil {
		return held.Document, nil
	}
	flight := ListURL("", issuerID, partition)
	found, err, _ := l.reading.Do(flight, func() (any, error) {
		return l.read(context.WithoutCancel(ctx), key) // others wait for it too
	})
	if err == nil {
		return found.(*heldList).Document, nil
	}
	if held := l.cache.get(key, time.Time{}); held != nil && !errors.Is(err, store.ErrNotFound) {
		return held.Document, nil
	}
	return nil, err
}

// read reads a list from the store and holds it.
func (l *Lists) read(ctx context.Context, key listKey) (*heldList, error) {
	now := l.deps.Now()
	list, err := l.deps.Store.RevocationList(ctx, key.issuerID, key.partition)
	if err != nil {
		return nil, err
	}
	return l.hold(&list, now), nil
}

func (l *Lists) hold(list *store.RevocationList, checked time.Time) *heldList {
	held := &heldList{
		Document: NewList(list.DER, list.ThisUpdate, list.NextUpdate),
		key:      listKey{list.IssuerID, list.Partition}, number: list.Number, checked: checked,
	}
	l.cache.put(held)
	return held
}

// Trouble says which list has ended without another in its place, and why; nil
// when none has.
func (l *Lists) Trouble() error {
	if err := l.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

const (
	lookEvery = time.Second      // how often stale lists are looked for
	lookBatch = 500              // how many are read at once; more than there are issuers
	tellEvery = time.Minute      // how often the same trouble is logged
	atOnce    = 8                // how many lists are made at the same time
	maxTime   = 30 * time.Second // for one list
)

// Run makes lists anew when something was revoked, and when half of their life
// is over, until ctx is done. It is called once.
func (l *Lists) Run(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		if l.deps.Lease == nil || l.deps.Lease.Held() {
			l.publishStale(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// publishStale makes all stale lists. What fails is stale the next time too.
func (l *Lists) publishStale(ctx context.Context) {
	for ctx.Err() == nil {
		ids := slices.Sorted(maps.Keys(*l.issuers.Load()))
		now, lifetime := l.deps.Now(), l.settings.Load().ListLifetime
		stale, err := l.deps.Store.StaleLists(ctx, ids, now.Add(lifetime/2), now.Add(lifetime), lookBatch)
		if err != nil {
			l.tell(ctx, err)
			return
		}
		made, failed := l.publishAll(ctx, l.wanted(stale))
		l.judge(ctx, failed)
		if len(failed) > 0 || made == 0 || len(stale) < lookBatch {
			return
		}
	}
}

// wanted leaves out full lists that nobody wants, and those whose turn has not
// come: making one costs what there is revoked in all.
func (l *Lists) wanted(stale []store.StaleList) []store.StaleList {
	full, now := l.settings.Load().FullList, l.deps.Now()
	return slices.DeleteFunc(stale, func(s store.StaleList) bool {
		return s.Partition == 0 && (!full || now.Before(l.fullAfter[s.IssuerID]))
	})
}

// failedList is a list that could not be made.
type failedList struct {
	store.StaleList
	err error
}

// publishAll makes lists, some at the same time.
func (l *Lists) publishAll(ctx context.Context, stale []store.StaleList) (made int, failed []failedList) {
	var mu sync.Mutex
	var work sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, s := range stale {
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			started := time.Now()
			_, err := l.publish(ctx, s)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, failedList{s, err})
				return
			}
			made++
			if s.Partition == 0 {
				l.fullAfter[s.IssuerID] = l.deps.Now().Add(fullShare * time.Since(started))
			}
		})
	}
	work.Wait()
	return made, failed
}

// fullShare bounds the share of the time that goes into full lists: 1 in 10.
const fullShare = 10

// judge finds out which of the lists that could not be made are missed by now.
func (l *Lists) judge(ctx context.Context, failed []failedList) {
	var overdue []error
	for _, f := range failed {
		before, err := l.List(ctx, f.IssuerID, f.Partition)
		if errors.Is(err, store.ErrNotFound) || err == nil && l.deps.Now().After(before.NextUpdate) {
			overdue = append(overdue, f.err)
		}
		l.tell(ctx, f.err)
	}
	if l.deps.Overdue != nil {
		l.deps.Overdue(len(overdue))
	}
	if len(overdue) == 0 {
		l.trouble.Store(nil)
		return
	}
	l.trouble.Store(&overdue[0])
}

// tell logs trouble, now and then.
func (l *Lists) tell(ctx context.Context, err error) {
	if now := l.deps.Now(); ctx.Err() == nil && now.Sub(l.told) >= tellEvery {
		l.told = now
		l.deps.Log.Error("couldn't renew revocation lists; those there are stay, and it is tried again", "error", err)
	}
}
