package sqlite

import (
	"context"
	"errors"
)

// readers are the connections that only read. They never wait for the writer:
// each sees the last commit from before its transaction.
type readers struct {
	idle  chan *conn // those nobody uses
	ended chan struct{}
}

// read runs f in a transaction on a connection of its own, so that all its
// queries see the same moment. It ends early when ctx does.
func read[T any](ctx context.Context, s *Store, op string, f func(*conn) (T, error)) (T, error) {
	var none T
	c, err := s.readers.take(ctx)
	if err != nil {
		return none, explain(op, err)
	}
	defer s.readers.put(c)
	result, err := inTransaction(c, f)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return none, explain(op, err)
	}
	return result, nil
}

func inTransaction[T any](c *conn, f func(*conn) (T, error)) (result T, err error) {
	if _, err := c.exec("BEGIN"); err != nil {
		return result, err
	}
	defer func() {
		c.SetInterrupt(context.Background())
		_, end := c.exec("COMMIT")
		err = errors.Join(err, end)
	}()
	return f(c)
}

func (r *readers) take(ctx context.Context) (*conn, error) {
	select {
	case <-r.ended:
		return nil, errClosed
	default:
	}
	select {
	case c := <-r.idle:
		c.SetInterrupt(ctx)
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-r.ended:
		return nil, errClosed
	}
}

func (r *readers) put(c *conn) {
	c.SetInterrupt(context.Background())
	r.idle <- c
}

// close waits for the reads under way and closes their connections.
func (r *readers) close() (err error) {
	close(r.ended)
	for range cap(r.idle) {
		err = errors.Join(err, (<-r.idle).close())
	}
	return err
}
