package fault

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// relay takes connections to one address on to others: a balancer that knows
// nothing of what it carries, and a network with faults. Its methods may be
// called by any goroutine.
type relay struct {
	address string
	targets []string
	next    atomic.Int64 // connections are given to the targets in turn

	cutOneIn  atomic.Int64 // how many messages pass before one is cut, on the average; 0 for all
	cutCommit atomic.Int64 // of messages to the target that end a transaction
	delay     atomic.Int64 // of each message, in nanoseconds
	silent    atomic.Bool  // nothing passes
	cuts      atomic.Int64 // how many connections were cut

	ctx context.Context // until the test ends
}

func newRelay(t *testing.T, address string, targets ...string) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &relay{address: listener.Addr().String(), targets: targets, ctx: ctx}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() { r.serve(from) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = listener.Close()
		work.Wait()
	})
	return r
}

// serve carries one connection.
func (r *relay) serve(from net.Conn) {
	defer from.Close()
	to, err := r.dial()
	if err != nil {
		return
	}
	defer to.Close()
	ended := context.AfterFunc(r.ctx, func() {
		_ = from.Close()
		_ = to.Close()
	})
	defer ended()
	var work sync.WaitGroup
	work.Go(func() { r.carry(to, from, true) })
	work.Go(func() { r.carry(from, to, false) })
	work.Wait()
}

// dial connects to the next target that accepts.
func (r *relay) dial() (net.Conn, error) {
	var refused error
	for range r.targets {
		target := r.targets[int(r.next.Add(1))%len(r.targets)]
		conn, err := new(net.Dialer).DialContext(r.ctx, "tcp", target)
		if err == nil {
			return conn, nil
		}
		refused = errors.Join(refused, err)
	}
	return nil, refused
}

// carry takes what comes to where it goes, until either end closes. Then both are closed.
func (r *relay) carry(to, from net.Conn, forth bool) {
	defer to.Close()
	defer from.Close()
	for buf := make([]byte, 64<<10); ; {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		r.hold()
		if oneIn(r.cutOneIn.Load()) {
			r.cuts.Add(1)
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
		if forth && bytes.Contains(buf[:n], []byte("COMMIT")) && oneIn(r.cutCommit.Load()) {
			r.cuts.Add(1)
			return
		}
	}
}

// hold returns when a message may pass.
func (r *relay) hold() {
	wait := time.Duration(r.delay.Load())
	for wait > 0 || r.silent.Load() {
		select {
		case <-time.After(max(wait, 10*time.Millisecond)):
			wait = 0
		case <-r.ctx.Done():
			return
		}
	}
}

func oneIn(n int64) bool { return n > 0 && rand.Int64N(n) == 0 }
