package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/ncruces/go-sqlite3"

	"chancery/internal/store"
)

const (
	// maxGroup bounds a transaction, and with it how long the first of a
	// group waits for the last.
	maxGroup = 256
	// maxQueue bounds the steps that wait; further ones wait outside it until
	// their context ends.
	maxQueue = 4 * maxGroup
)

// writer runs all steps that write, in the order they come, on one connection
// and in one goroutine. The steps that wait at the same moment share one
// transaction, and so one sync of the disk.
type writer struct {
	conn  *conn // owned by the goroutine of run
	queue chan *member
	ended chan struct{}

	mu     sync.RWMutex // held for reading while a step is put into the queue
	closed bool         // guarded by mu
}

// member is a step in the queue. err is written before done is closed.
type member struct {
	run  func(*conn) error
	err  error
	done chan struct{}
}

// step runs f in the writer and returns when what it wrote is durable. f runs
// in a transaction with other steps, perhaps more than once; when it returns an
// error, nothing it wrote stays. When ctx ends first, step returns at once;
// whether f happens is then unknown.
func step[T any](ctx context.Context, s *Store, op string, f func(*conn) (T, error)) (T, error) {
	var result, none T
	m := &member{done: make(chan struct{})}
	m.run = func(c *conn) (err error) {
		result, err = f(c)
		return err
	}
	if err := s.writer.do(ctx, m); err != nil {
		return none, explain(op, err)
	}
	return result, nil
}

// update is step for a step without a result.
func update(ctx context.Context, s *Store, op string, f func(*conn) error) error {
	_, err := step(ctx, s, op, func(c *conn) (struct{}, error) { return struct{}{}, f(c) })
	return err
}

func (w *writer) do(ctx context.Context, m *member) error {
	if err := w.enqueue(ctx, m); err != nil {
		return err
	}
	select {
	case <-m.done:
		return m.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *writer) enqueue(ctx context.Context, m *member) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return errClosed
	}
	select {
	case w.queue <- m:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close refuses further steps and returns when those in the queue are done;
// false when it was closed before.
func (w *writer) close() (first bool) {
	w.mu.Lock()
	if first = !w.closed; first {
		w.closed = true
		close(w.queue)
	}
	w.mu.Unlock()
	<-w.ended
	return first
}

// run is the writer's goroutine; it ends when the queue is closed and empty.
func (w *writer) run() {
	defer close(w.ended)
	group := make([]*member, 0, maxGroup)
	for first := range w.queue {
		group = append(group[:0], first)
		// Goroutines that are ready to run may be about to bring steps: with
		// them in the group there are fewer commits. An idle server loses nothing.
		for before := 0; before < len(group); {
			before = len(group)
			runtime.Gosched()
			group = w.waiting(group)
		}
		w.commit(group)
	}
}

// waiting adds the steps that are in the queue now.
func (w *writer) waiting(group []*member) []*member {
	for len(group) < maxGroup {
		select {
		case m, ok := <-w.queue:
			if !ok {
				return group
			}
			group = append(group, m)
		default:
			return group
		}
	}
	return group
}

// commit runs a group in one transaction and answers its members. A member
// that fails after it wrote would take the others with it, so they are then run
// one by one. When the disk fails, all of them fail: each may have built on
// what another wrote.
func (w *writer) commit(group []*member) {
	err := w.attempt(group)
	if _, spoiled := errors.AsType[*spoiledError](err); spoiled && len(group) > 1 {
		for i := range group {
			w.commit(group[i : i+1])
		}
		return
	}
	for _, m := range group {
		if err != nil {
			m.err = err
		}
		close(m.done)
	}
}

// attempt runs a group in one transaction; the error is that of all members.
// A member's own error, of one that wrote nothing, is left in it.
func (w *writer) attempt(group []*member) error {
	if _, err := w.conn.exec("BEGIN IMMEDIATE"); err != nil {
		return errors.Join(unavailable(err), w.rollback()) // one that an earlier rollback could not end
	}
	for _, m := range group {
		if err := w.runMember(m); err != nil {
			return errors.Join(err, w.rollback())
		}
	}
	w.conn.recent.forget()
	if _, err := w.conn.exec("COMMIT"); err != nil {
		return errors.Join(unavailable(err), w.rollback())
	}
	w.conn.recent.learn()
	return nil
}

func (w *writer) runMember(m *member) error {
	before := w.conn.TotalChanges()
	m.err = m.run(w.conn)
	switch {
	case m.err == nil:
		return nil
	case diskFailed(m.err):
		return unavailable(m.err)
	case w.conn.TotalChanges() != before || w.conn.GetAutocommit() || isEngineError(m.err):
		return &spoiledError{m.err}
	default:
		return nil
	}
}

// rollback ends a failed transaction, if SQLite has not done so itself.
func (w *writer) rollback() error {
	w.conn.recent.dismiss()
	if w.conn.GetAutocommit() {
		return nil
	}
	_, err := w.conn.exec("ROLLBACK")
	return err
}

// spoiledError is a step's own failure that made its transaction useless.
type spoiledError struct{ error }

func (e *spoiledError) Unwrap() error { return e.error }

var errClosed = fmt.Errorf("%w: it is closed", store.ErrUnavailable)

// unavailable marks a failure of the engine as what callers look for.
func unavailable(err error) error {
	if errors.Is(err, store.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

// isEngineError reports whether err is SQLite's, not a step's finding.
func isEngineError(err error) bool {
	var code sqlite3.ErrorCode
	return errors.As(err, &code)
}

// diskFailed reports whether SQLite could not read or write what it needs to.
func diskFailed(err error) bool {
	var code sqlite3.ErrorCode
	if !errors.As(err, &code) {
		return false
	}
	switch code {
	case sqlite3.CONSTRAINT, sqlite3.MISMATCH, sqlite3.RANGE, sqlite3.TOOBIG, sqlite3.MISUSE, sqlite3.ERROR:
		return false // the step's own fault
	default:
		return true
	}
}

// explain adds the operation to an error that is not a step's finding.
func explain(op string, err error) error {
	if diskFailed(err) {
		err = unavailable(err)
	}
	if isEngineError(err) || errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("couldn't %s: %w", op, err)
	}
	return err
}
