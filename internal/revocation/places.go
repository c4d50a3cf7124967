package revocation

import (
	"context"
	"errors"
	"sync/atomic"

	"chancery/internal/ca"
	"chancery/internal/store"
)

// assignment is the partition that an issuer's new certificates go into.
type assignment struct {
	base  string
	place ca.Place
	left  atomic.Int64 // how many more it takes
}

// Of implements ca.Places. Once in so many certificates it begins a partition:
// then it waits until the store has that, and its first list.
func (l *Lists) Of(ctx context.Context, issuerID string, revocable bool) (ca.Place, error) {
	base := l.settings.Load().BaseURL
	switch {
	case base == "":
		return ca.Place{}, nil
	case !revocable:
		return ca.Place{IssuerURL: IssuerURL(base, issuerID)}, nil
	}
	if current := l.take(issuerID, base); current != nil {
		return current.place, nil
	}
	p := l.paceOf(issuerID)
	p.assigning.Lock()
	defer p.assigning.Unlock()
	if current := l.take(issuerID, base); current != nil { // somebody else was first
		return current.place, nil
	}
	// Others wait for it too, so it does not end with this request.
	next, err := l.assign(context.WithoutCancel(ctx), issuerID, base)
	if err != nil {
		return ca.Place{}, err
	}
	next.left.Add(-1)
	l.current.Store(issuerID, next)
	return next.place, nil
}

// take takes a place in the current partition; nil when there is none.
func (l *Lists) take(issuerID, base string) *assignment {
	found, ok := l.current.Load(issuerID)
	if !ok {
		return nil
	}
	current := found.(*assignment)
	if current.base != base || current.left.Add(-1) < 0 {
		return nil
	}
	return current
}

// assign begins a partition, or goes on with the newest of those that were there
// when the server started. A partition has a list before it has a certificate,
// so that nobody is sent to one that is not there.
func (l *Lists) assign(ctx context.Context, issuerID, base string) (*assignment, error) {
	if _, running := l.current.Load(issuerID); !running {
		resumed, err := l.resume(ctx, issuerID, base)
		if resumed != nil || err != nil {
			return resumed, err
		}
	}
	partition, err := l.deps.Store.NewPartition(ctx, issuerID, l.deps.Now())
	if err != nil {
		return nil, err
	}
	if _, err := l.listed(ctx, partition); err != nil {
		return nil, err
	}
	return newAssignment(partition, base, l.settings.Load().ListSize), nil
}

// resume goes on with the issuer's newest partition; nil when there is none, or
// it is full, or was begun under another URL.
func (l *Lists) resume(ctx context.Context, issuerID, base string) (*assignment, error) {
	size := l.settings.Load().ListSize
	partition, err := l.deps.Store.NewestPartition(ctx, issuerID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil || partition.Issued >= size {
		return nil, err
	}
	url, err := l.listed(ctx, partition)
	if err != nil || url != ListURL(base, issuerID, partition.Number) {
		return nil, err
	}
	return newAssignment(partition, base, size), nil
}

func newAssignment(partition store.Partition, base string, size int) *assignment {
	a := &assignment{base: base, place: ca.Place{
		Partition: partition.Number,
		IssuerURL: IssuerURL(base, partition.IssuerID),
		CRLURL:    ListURL(base, partition.IssuerID, partition.Number),
		OCSPURL:   base + OCSPPath,
	}}
	a.left.Store(int64(size - partition.Issued))
	return a
}

// listed makes sure that a partition has a list and returns the URL in it.
func (l *Lists) listed(ctx context.Context, partition store.Partition) (url string, err error) {
	stale := store.StaleList{IssuerID: partition.IssuerID, Partition: partition.Number}
	before, err := l.before(ctx, stale)
	if err != nil {
		return "", err
	}
	if before == nil {
		return l.publish(ctx, stale, store.Fence{}) // a first list is anybody's to make
	}
	return distributionPoint(before.DER)
}
