package keyhelper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"chancery/internal/keyhelper/wire"
)

// errLost is wrapped by the error of a request whose answer can't come any
// more, for the helper has ended.
var errLost = errors.New("the helper has ended")

// conn is the conversation with one helper process.
type conn struct {
	out  chan wire.Request
	dead chan struct{} // closed when no answers come any more
	work sync.WaitGroup

	mu      sync.Mutex
	last    uint64                        // id; guarded by mu
	waiting map[uint64]chan wire.Response // guarded by mu; nil when dead
	err     error                         // why it is dead; guarded by mu
}

// newConn begins to talk. The conversation ends when answers does, which the
// owner brings about by ending the process; wait then waits for that.
func newConn(requests io.WriteCloser, answers io.Reader) *conn {
	c := &conn{out: make(chan wire.Request), dead: make(chan struct{}), waiting: map[uint64]chan wire.Response{}}
	c.work.Go(func() { c.write(requests) })
	c.work.Go(func() { c.read(bufio.NewReader(answers)) })
	return c
}

func (c *conn) wait() { c.work.Wait() }

// write passes requests on. It is a goroutine of its own because a helper that
// hangs does not read.
func (c *conn) write(requests io.WriteCloser) {
	defer func() { _ = requests.Close() }()
	for {
		select {
		case <-c.dead:
			return
		case request := <-c.out:
			if wire.Write(requests, request) != nil {
				return // answers end too, then
			}
		}
	}
}

func (c *conn) read(answers io.Reader) {
	for {
		var response wire.Response
		if err := wire.Read(answers, &response); err != nil {
			c.die(err)
			return
		}
		c.mu.Lock()
		waiter := c.waiting[response.ID]
		delete(c.waiting, response.ID)
		c.mu.Unlock()
		if waiter != nil { // else it has given up
			waiter <- response
		}
	}
}

// die ends the conversation, from either side.
func (c *conn) die(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		return
	}
	c.waiting, c.err = nil, fmt.Errorf("%w: %w", errLost, err)
	close(c.dead)
}

// do asks and waits for the answer. Its error wraps errLost, or is ctx's, or a
// *wire.Error.
func (c *conn) do(ctx context.Context, request wire.Request) (wire.Response, error) {
	answer := make(chan wire.Response, 1)
	c.mu.Lock()
	if c.waiting == nil {
		defer c.mu.Unlock()
		return wire.Response{}, c.err
	}
	c.last++
	request.ID = c.last
	c.waiting[request.ID] = answer
	c.mu.Unlock()
	defer c.forget(request.ID)

	select {
	case c.out <- request:
	case <-c.dead:
		return wire.Response{}, c.reason()
	case <-ctx.Done():
		return wire.Response{}, ctx.Err()
	}
	select {
	case response := <-answer:
		if response.Error != nil {
			return response, response.Error
		}
		return response, nil
	case <-c.dead:
		return wire.Response{}, c.reason()
	case <-ctx.Done():
		return wire.Response{}, ctx.Err()
	}
}

func (c *conn) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

func (c *conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
