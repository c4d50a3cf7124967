package postgres

import (
	"context"
	"sync"
	"sync/atomic"
)

const (
	// upkeepEvery is after how many certificates of this process the rest of
	// the work on them is done: few enough that questions hardly notice what
	// is left.
	upkeepEvery = 256
	upkeepBatch = 2000
)

// upkeep does what issuances leave behind, off their road: it adds up the
// changes of the counts, and enters the parts of names into the search.
// Questions take account of what is not done yet, so nothing depends on when,
// or where, it is done.
type upkeep struct {
	store  *Store
	issued atomic.Int64
	wake   chan struct{}
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

// startUpkeep begins with what an earlier process left, unless it is to be idle.
func startUpkeep(s *Store, idle bool) *upkeep {
	ctx, cancel := context.WithCancel(context.Background())
	u := &upkeep{store: s, wake: make(chan struct{}, 1), cancel: cancel}
	if !idle {
		u.wake <- struct{}{}
	}
	u.ended.Go(func() { u.run(ctx) })
	return u
}

// note is called for each certificate.
func (u *upkeep) note() {
	if u.issued.Add(1)%upkeepEvery != 0 {
		return
	}
	select {
	case u.wake <- struct{}{}:
	default: // it is awake
	}
}

// stop waits for the batch under way.
func (u *upkeep) stop() {
	u.cancel()
	u.ended.Wait()
}

func (u *upkeep) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-u.wake:
			_ = u.store.catchUp(ctx) // what fails now is done the next time
		}
	}
}

// catchUp does all there is to do.
func (s *Store) catchUp(ctx context.Context) error {
	for {
		more, err := step(ctx, s, "catch up", func(c *conn) (bool, error) {
			entered, err := enterParts(c, upkeepBatch)
			if err != nil {
				return false, err
			}
			folded := do(foldChanges, upkeepBatch)
			err = c.last(folded)
			return entered == upkeepBatch || folded.changed == upkeepBatch, err
		})
		if err != nil || !more {
			return err
		}
	}
}
