package revocation

import (
	"context"
	"errors"
	"log/slog"
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
	PublishList(ctx context.Context, list store.RevocationList, basis int64, fence store.Fence) error
	RevocationList(ctx context.Context, issuerID string, partition int64) (store.RevocationList, error)
}

// Lease lets one node of several publish the lists of an issuer.
type Lease interface {
	// Held reports whether this node may publish now, and what fences it.
	Held(issuerID string) (store.Fence, bool)
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

	current sync.Map // issuer's ID → *assignment

	mu    sync.Mutex
	paces map[string]*pace // by issuer's ID; guarded by mu
}

// cacheSize is how many octets of lists are at hand.
const cacheSize = 64 << 20

// NewLists returns the lists; Run keeps them true.
func NewLists(deps ListDeps) *Lists {
	l := &Lists{deps: deps, cache: newListCache(cacheSize), paces: map[string]*pace{}}
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
