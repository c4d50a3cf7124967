package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"chancery/internal/store"
)

// Waits between the attempts of a step: doubled each time, and up to as much
// again by chance, so that rivals part.
const (
	firstPause = 2 * time.Millisecond
	lastPause  = 250 * time.Millisecond
)

// step runs f in a transaction and returns when what it wrote is durable. It
// runs f again, with conn.again set when the attempt before may have been
// committed, for as long as the server is away or rivals are in the way, but
// not beyond the store's deadline. A step that has begun is not stopped by the
// end of ctx: whether it happened would then be unknown, and its connection
// lost.
func step[T any](ctx context.Context, s *Store, op string, f func(*conn) (T, error)) (T, error) {
	return retry(ctx, s, op, false, f)
}

// update is step for a step without a result.
func update(ctx context.Context, s *Store, op string, f func(*conn) error) error {
	_, err := step(ctx, s, op, func(c *conn) (struct{}, error) { return struct{}{}, f(c) })
	return err
}

// read runs f, which only reads, each statement for itself unless f says
// otherwise. It ends early when ctx does.
func read[T any](ctx context.Context, s *Store, op string, f func(*conn) (T, error)) (T, error) {
	return retry(ctx, s, op, true, f)
}

func retry[T any](ctx context.Context, s *Store, op string, readOnly bool, f func(*conn) (T, error)) (result T, err error) {
	if err := ctx.Err(); err != nil {
		return result, fmt.Errorf("couldn't %s: %w", op, err)
	}
	limited, cancel := context.WithTimeout(ctx, s.deadline)
	defer cancel()
	again := false
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		var none T
		result, err = attempt(limited, s, readOnly, again, f)
		if err == nil {
			return result, nil
		}
		lost := isLost(err)
		if !lost && !isConflict(err) || ctx.Err() != nil {
			if isFull(err) {
				s.full.Store(s.now().UnixMilli())
			}
			return none, explain(ctx, op, err)
		}
		again = again || lost
		select {
		case <-limited.Done():
			return none, explain(ctx, op, err)
		case <-time.After(pause + rand.N(pause)): //nolint:gosec // chance, not a secret
		}
	}
}

// attempt runs f once, on a connection of its own.
func attempt[T any](ctx context.Context, s *Store, readOnly, again bool, f func(*conn) (T, error)) (result T, err error) {
	pooled, err := s.pool.Acquire(ctx)
	switch {
	case s.closed.Load():
		if err == nil {
			pooled.Release()
		}
		return result, errClosed
	case err != nil:
		return result, &lostError{err}
	}
	defer pooled.Release()
	if !readOnly {
		deadline, _ := ctx.Deadline()
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(context.WithoutCancel(ctx), deadline)
		defer cancel()
	}
	c := &conn{raw: pooled.Conn().PgConn(), ctx: ctx, trips: &s.trips, idle: strconv.FormatInt(s.deadline.Milliseconds(), 10), plain: readOnly, again: again}
	result, err = f(c)
	err = errors.Join(err, c.finish(err != nil))
	if isAway(err) {
		_ = c.raw.Close(ctx) // its error says no more than err; the pool drops the connection
	}
	return result, err
}

// lostError is the failure of a connection: what was sent last may or may not
// have happened.
type lostError struct{ error }

func (e *lostError) Unwrap() error { return e.error }

// errConflict makes a step run again: it has met a rival where PostgreSQL sees
// nothing wrong.
var errConflict = errors.New("another step was in the way")

var errClosed = fmt.Errorf("%w: it is closed", store.ErrUnavailable)

// uniqueViolation is the SQLSTATE of a key that is there already.
const uniqueViolation = "23505"

// codeOf is the SQLSTATE of a server's error, "" for others.
func codeOf(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

// isConflict reports whether a step failed for others were in its way, and
// certainly did not happen: a serialization failure or a deadlock.
func isConflict(err error) bool {
	code := codeOf(err)
	return code == "40001" || code == "40P01" || errors.Is(err, errConflict)
}

// isLost reports whether a step failed with its connection, or found a server
// that could not take it.
func isLost(err error) bool {
	if errors.Is(err, errClosed) || isRefused(err) {
		return false
	}
	_, lost := errors.AsType[*lostError](err)
	return lost || isAway(err)
}

// isAway reports whether the server says that it takes no steps now: connection
// exceptions, too many connections, one that stops, starts or only stands by, or
// that has not heard of us for too long.
func isAway(err error) bool {
	code := codeOf(err)
	return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "57P") || code == "53300" || code == "25006" || code == "25P03"
}

// isRefused reports whether the server does not want us, which waiting does
// not change: a wrong password, a database that is not there.
func isRefused(err error) bool {
	code := codeOf(err)
	return strings.HasPrefix(code, "28") || code == "3D000"
}

// explain adds the operation to an error that is not a step's finding. Failures
// of the engine are marked as what callers look for.
func explain(ctx context.Context, op string, err error) error {
	if ended := ctx.Err(); ended != nil {
		return fmt.Errorf("couldn't %s: %w", op, ended)
	}
	_, lost := errors.AsType[*lostError](err)
	switch {
	case errors.Is(err, store.ErrUnavailable):
	case lost || isAway(err) || isRefused(err) || isConflict(err) || isFull(err):
		err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	case codeOf(err) == "":
		return err
	}
	return fmt.Errorf("couldn't %s: %w", op, err)
}

// isFull reports whether the server lacks disk, memory or something else
// (SQLSTATE class 53), or has trouble with its files (58).
func isFull(err error) bool {
	code := codeOf(err)
	return strings.HasPrefix(code, "53") || strings.HasPrefix(code, "58")
}
