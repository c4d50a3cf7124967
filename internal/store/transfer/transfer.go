// Package transfer moves all records of one store into another, of any engine:
// page by page, so that memory stays flat; resumable, for each page is stored in
// one transaction with how far it came; and checked, for at the end both stores
// are read again and compared. What engines derive from records (counts, what
// names are searched by) they derive anew.
//
// It does not move what lives for moments only or belongs to processes: nonces,
// what limits have counted, leases, nodes and the secrets they share. It keeps
// nobody from changing the source meanwhile, but notices.
package transfer

import (
	"context"
	"errors"
)

// What a migration can be refused for.
var (
	ErrNotEmpty    = errors.New("it is not empty")
	ErrOtherSource = errors.New("it holds an unfinished migration of another store")
	ErrUnfinished  = errors.New("it holds an unfinished migration")
	ErrInUse       = errors.New("it is in use")
	ErrOvertaken   = errors.New("another process goes on with the same migration")
	ErrDifferent   = errors.New("the two stores are not the same")
)

// Source is a store that can be read record by record.
type Source interface {
	// Identity is a name that no other store has, and that this one keeps.
	Identity(ctx context.Context) (string, error)
	// Idle returns an error that wraps ErrInUse when others use the store, or
	// ErrUnfinished when it is the destination of a migration.
	Idle(ctx context.Context) error
	// Count says how many records of a kind there are.
	Count(ctx context.Context, kind *Kind) (int64, error)
	// Page returns up to kind.Page records of a kind that come after a key, or
	// the first for nil, in an order of the store's own.
	Page(ctx context.Context, kind *Kind, after Row) ([]Row, error)
}

// Destination is a store that records can be moved into.
type Destination interface {
	Source
	// Begin makes the store the destination of a migration from the source of
	// that identity, or finds that it is, which is resumed. Until End, engines
	// refuse to open it for anything else. ErrNotEmpty, ErrOtherSource.
	Begin(ctx context.Context, source string) (resumed bool, err error)
	// Position is how far the records of a kind have come, as Put was told it; nil
	// before the first.
	Position(ctx context.Context, kind *Kind) ([]byte, error)
	// Put stores records, one at least, and that they have come to the position
	// now. ErrOvertaken when they were not at the one before.
	Put(ctx context.Context, kind *Kind, rows []Row, before, now []byte) error
	// Build makes what is derived from the records, as far as Put has not, and as
	// the store does not do so by itself once it is served.
	Build(ctx context.Context) error
	// End makes the store one like all others.
	End(ctx context.Context) error
}
