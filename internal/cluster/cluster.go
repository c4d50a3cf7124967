// Package cluster makes a process one node of several that share a store. A
// Member tells the store that it lives, keeps leases on jobs that one node does
// at a time, and notices within a second when another node has changed what
// this one keeps at hand. Status is what all nodes tell of themselves, and what
// is wrong with them together.
//
// Nodes don't talk to each other, and none leads. The package promises nothing
// about what is done under a lease: that must carry the lease's fence to the
// store, for a node may learn late that it lost it.
package cluster

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"chancery/internal/store"
)

const (
	// LeaseLife is for how long a lease is taken, and so how long a job waits
	// when its node dies.
	LeaseLife = 15 * time.Second

	seeEvery = 5 * time.Second // how often a node tells that it lives
	seeTime  = 5 * time.Second // for the store to take that
	partTime = 3 * time.Second // for a node that ends to take its leave
)

// Store is what a Member needs of the store.
type Store interface {
	store.Leases
	store.Nodes
	Versions(ctx context.Context) (map[store.Kind]int64, error)
}

// Deps is what a Member is made of. All fields are required unless they say
// otherwise.
type Deps struct {
	Store   Store
	Name    string // for people
	Version string
	Now     func() time.Time // the node's clock, which may be wrong, and set
	// Elapsed is time.Now: what lies between two of its times is measured, and no
	// setting of the clock changes that.
	Elapsed func() time.Time
	Log     *slog.Logger

	// Describe is what the node says of itself now.
	Describe func(ctx context.Context) Details
	// Forget is called when a record of the kind was changed, or that can't be
	// found out just now: to drop what is kept of them. It must not wait.
	Forget map[store.Kind]func()
	// Reload is called when a record of the kind was changed, and again until it
	// succeeds.
	Reload map[store.Kind]func(ctx context.Context) error

	LeaseLife time.Duration // 0 means LeaseLife
}

// Member is this process among the nodes. Its methods may be called by any
// number of goroutines.
type Member struct {
	deps    Deps
	id      string
	started time.Time
	leases  leases
	reloads reloads
}

// New returns a member that nobody knows of until Run runs.
func New(deps Deps) *Member {
	if deps.LeaseLife <= 0 {
		deps.LeaseLife = LeaseLife
	}
	return &Member{
		deps: deps, id: rand.Text(), started: deps.Now(),
		leases:  leases{held: map[string]heldLease{}, wake: make(chan struct{}, 1)},
		reloads: reloads{due: map[store.Kind]bool{}, wake: make(chan struct{}, 1)},
	}
}

// ID is the node's id, another one for each run of the process.
func (m *Member) ID() string { return m.id }

// Run is the node's life: until ctx is done it does what the package says. Then
// it gives its leases away and is forgotten by the store. It is called once.
func (m *Member) Run(ctx context.Context) error {
	var work sync.WaitGroup
	for _, part := range []func(context.Context){m.tell, m.keepLeases, m.watch, m.reload} {
		work.Go(func() { part(ctx) })
	}
	work.Wait()
	return m.part(context.WithoutCancel(ctx))
}

// tell tells the store that the node lives.
func (m *Member) tell(ctx context.Context) {
	ticker := time.NewTicker(seeEvery)
	defer ticker.Stop()
	for {
		if err := m.see(ctx); err != nil && ctx.Err() == nil {
			m.deps.Log.WarnContext(ctx, "couldn't tell the other nodes that this one lives; will try again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (m *Member) see(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, seeTime)
	defer cancel()
	described := m.deps.Describe(ctx)
	described.Jobs = m.leases.wanted()
	details, err := json.Marshal(described)
	if err != nil {
		return fmt.Errorf("couldn't describe the node: %w", err)
	}
	return m.deps.Store.SeeNode(ctx, store.Node{
		ID: m.id, Name: m.deps.Name, Version: m.deps.Version,
		Started: m.started, Clock: m.deps.Now(), Details: details,
	})
}

// part takes leave of the others. A store that is away does so by itself, when
// the leases end.
func (m *Member) part(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, partTime)
	defer cancel()
	err := errors.Join(m.giveLeases(ctx), m.deps.Store.RemoveNode(ctx, m.id))
	if err != nil {
		m.deps.Log.WarnContext(ctx, "couldn't take leave of the other nodes; they will see it in time", "error", err)
	}
	return nil
}

// wake has a goroutine look again, without waiting for it.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
