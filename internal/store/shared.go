package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// ErrFenced is the error of a step whose lease is another's by now.
var ErrFenced = errors.New("another node has the lease by now")

// Shared is what a store offers beside Store when several processes, the nodes
// of one CA, use it at the same time. All its times are of the store's own
// clock unless they are arguments, so that a node whose clock jumps does no harm.
type Shared interface {
	Store
	Nonces
	Limits
	Leases
	Nodes

	// Secret returns the secret of that name, which all nodes share. The first
	// caller's fresh becomes it.
	Secret(ctx context.Context, name string, fresh []byte) ([]byte, error)
	// Versions returns how often what nodes keep at hand was changed, by kind: the
	// steps that change it raise the number in the same transaction. A kind that
	// never changed is 0 or missing. It is one cheap question.
	Versions(ctx context.Context) (map[Kind]int64, error)
}

// Kind is a kind of record that nodes keep at hand.
type Kind string

// What Versions counts changes of.
const (
	KindAccounts     Kind = "accounts"     // SetContact, ChangeKey, CloseAccount
	KindBindings     Kind = "bindings"     // CreateBinding, UpdateBinding, RevokeBinding
	KindProvisioners Kind = "provisioners" // CreateProvisioner, RemoveProvisioner
	KindIncidents    Kind = "incidents"    // CreateIncident, CloseIncident
	KindRevocations  Kind = "revocations"  // Revoke, RevokeAll, AbandonIntent
	KindIssuers      Kind = "issuers"      // RegisterIssuer, when it was not known as such
)

// NonceID names a nonce. It begins with the time it was made, in milliseconds
// since 1970 (6 octets, big-endian), so that ids of about the same time are
// beside each other; who makes it fills the rest so that no two are alike.
type NonceID [16]byte

// Nonces are the spent ones (RFC 8555 §6.5).
type Nonces interface {
	// SpendNonces spends nonces, and says of each whether it was this call that
	// did. One that was made before TidyCutoff.Nonces of any Tidy can't be
	// spent any more. Where it is unknown whether an attempt of this call has
	// spent it, it is said to be spent before: the client takes another. ids
	// holds none twice.
	SpendNonces(ctx context.Context, ids []NonceID) (fresh []bool, err error)
}

// LimitKey names what a limit counts. It holds a hash.
type LimitKey [16]byte

// LimitEvent is one event of one limit, which counts by the generic cell rate
// algorithm: each event takes an interval to work off, and what is not worked
// off may fill a span of time.
type LimitEvent struct {
	Key      LimitKey
	Interval time.Duration
	Span     time.Duration
}

// Limits count events for all nodes, each call in a transaction of its own.
type Limits interface {
	// TakeEvents counts one event of each, or none: then refused is the index of
	// the first that its limit forbids, and wait how long it does; else refused
	// is -1. No key is in events twice. Calls for the same keys wait for each
	// other and never fail for that.
	TakeEvents(ctx context.Context, events []LimitEvent, now time.Time) (refused int, wait time.Duration, err error)
	// RefundEvents takes one event of each back.
	RefundEvents(ctx context.Context, events []LimitEvent) error
	// EventsDone says for each key when all that was counted is worked off; the
	// zero time when nothing is counted.
	EventsDone(ctx context.Context, keys []LimitKey) ([]time.Time, error)
}

// Lease is a job that one node has at a time.
type Lease struct {
	Name   string
	Holder string    // the id of the node
	Token  int64     // grows each time the lease goes to another, or to the same after it ended
	Until  time.Time // when others may have it
}

// Fence is what a step is done under: it fails with ErrFenced, and nothing
// changes, when the lease of that name has gone to another since. The zero
// value fences nothing.
type Fence struct {
	Lease string
	Token int64
}

// Fence returns the fence for steps under the lease.
func (l *Lease) Fence() Fence { return Fence{l.Name, l.Token} }

// Leases give jobs to nodes.
type Leases interface {
	// TakeLease gives the lease to the holder for so long from now, if it is free,
	// has ended or is the holder's already. ErrClaimed when another has it.
	TakeLease(ctx context.Context, name, holder string, life time.Duration) (Lease, error)
	// GiveLease gives a lease back before its end. That it was lost is no error.
	GiveLease(ctx context.Context, lease Lease) error
	// ListLeases returns all leases that are held, by name.
	ListLeases(ctx context.Context) ([]Lease, error)
}

// Node is a process that uses the store.
type Node struct {
	ID      string // random, of this run of the process
	Name    string // for people: the host's, unless told
	Version string
	Started time.Time       // by its own clock
	Clock   time.Time       // its own clock when it was last seen
	Seen    time.Time       // when it was last seen; set by the store
	Details json.RawMessage // what it says of itself
}

// Nodes are the processes that use the store, as they tell it now and then.
type Nodes interface {
	// SeeNode stores that a node lives, and what it says.
	SeeNode(ctx context.Context, node Node) error
	// ListNodes returns the nodes, by name and id, and the store's clock. Those not
	// seen for a day are forgotten.
	ListNodes(ctx context.Context) (nodes []Node, now time.Time, err error)
	// RemoveNode forgets a node that ends. That there is none is no error.
	RemoveNode(ctx context.Context, id string) error
}
