package keyhelper

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"time"

	"chancery/internal/keyhelper/wire"
	"chancery/internal/keys"
)

// supervise runs one helper after the other until the key is closed. It waits
// between them, longer each time that one does not get as far as opening the
// key.
func (k *Key) supervise() {
	defer close(k.done)
	wait, lost := minWait, 0
	for k.ctx.Err() == nil {
		opened, err := k.runHelper()
		if k.ctx.Err() != nil {
			return
		}
		if opened {
			wait, lost = minWait, 0
		}
		// One that just ended is started again, and those who wait need not know.
		if lost++; opened || errors.Is(err, errLost) && lost < maxLost {
			err = nil
		}
		k.set(nil, err)
		select {
		case <-k.ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, maxWait)
	}
}

// runHelper starts a helper, opens the key, and watches it until it has ended.
// It reports whether the key was opened.
func (k *Key) runHelper() (opened bool, err error) {
	command := exec.CommandContext(k.ctx, k.options.Path) //nolint:gosec // the operator's choice
	command.Env = k.options.Env
	command.Stderr = &logWriter{log: k.options.Log}
	requests, err := command.StdinPipe()
	if err != nil {
		return false, fmt.Errorf("couldn't start the helper: %w", err)
	}
	answers, err := command.StdoutPipe()
	if err != nil {
		return false, fmt.Errorf("couldn't start the helper: %w", err)
	}
	command.Cancel, command.WaitDelay = requests.Close, endWait // the end of its input ends a helper
	if err := command.Start(); err != nil {
		return false, fmt.Errorf("couldn't start the helper: %w", err)
	}
	c := newConn(requests, answers)
	opened, err = k.use(c)
	wanted := k.ctx.Err() != nil
	if !wanted {
		_ = command.Process.Kill() // it has ended, or must
	}
	_ = requests.Close()
	err = errors.Join(err, command.Wait()) // also ends answers, and so c
	c.wait()
	if !wanted {
		k.options.Log.Warn("a key helper has ended", slog.String("key", k.options.Key), slog.Any("error", err))
	}
	return opened, err
}

// use opens the key and checks now and then that it is there, until the helper
// has ended or can't be relied on.
func (k *Key) use(c *conn) (opened bool, err error) {
	if err := k.open(c); err != nil {
		return false, err
	}
	k.set(c, nil)
	for {
		every := checkEvery
		if k.Check() != nil {
			every = recheckEvery
		}
		select {
		case <-k.ctx.Done():
			return true, k.ctx.Err()
		case <-c.dead:
			return true, c.reason()
		case <-time.After(every):
		}
		ctx, cancel := context.WithTimeout(k.ctx, k.options.Timeout)
		_, err := c.do(ctx, wire.Request{Method: wire.Check})
		cancel()
		told, isTold := errors.AsType[*wire.Error](err)
		switch {
		case isTold:
			k.setAway(c, told)
		case err != nil:
			return true, fmt.Errorf("couldn't check the key: %w", err)
		case k.Check() != nil:
			k.set(c, nil)
		}
	}
}

// open tells the helper which key it is about, and makes sure that it is that.
func (k *Key) open(c *conn) error {
	request := wire.Request{Method: wire.Open, Version: wire.Version, Key: k.options.Key}
	if k.options.Secret != nil {
		secret, err := k.options.Secret()
		if err != nil {
			return err
		}
		request.Secret = secret
	}
	ctx, cancel := context.WithTimeout(k.ctx, openTimeout)
	defer cancel()
	response, err := c.do(ctx, request)
	if err != nil {
		return err
	}
	if response.Version != wire.Version {
		return fmt.Errorf("the helper speaks version %d of the protocol; this program speaks %d", response.Version, wire.Version)
	}
	public, err := x509.ParsePKIXPublicKey(response.PublicKey)
	if err != nil {
		return fmt.Errorf("couldn't read the helper's public key: %w", err)
	}
	return k.learn(public)
}

// learn keeps the first public key and refuses any other.
func (k *Key) learn(public crypto.PublicKey) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.public == nil {
		k.public = public
		return nil
	}
	if !keys.Equal(k.public, public) {
		return errors.New("the helper has another key than the certificate's; name the right one in its URI")
	}
	return nil
}

// report takes what a request found out about a helper: one that hangs or makes
// bad signatures is ended, by what use sees next.
func (k *Key) report(c *conn, err error) {
	told, isTold := errors.AsType[*wire.Error](err)
	switch {
	case isTold && told.Code == wire.Unavailable:
		k.setAway(c, told)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errSignature):
		c.die(err)
		k.drop(c)
	case errors.Is(err, errLost):
		k.drop(c)
	}
}

// drop lets nobody ask c any more, before the supervisor has noticed its end.
func (k *Key) drop(c *conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn == c {
		k.conn = nil
	}
}

// set changes what there is to ask, and wakes those who wait for that.
func (k *Key) set(c *conn, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conn, k.err = c, err
	close(k.changed)
	k.changed = make(chan struct{})
}

// setAway notes that the helper c works and its key is away.
func (k *Key) setAway(c *conn, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn != c && k.err == nil {
		return // there is another helper already
	}
	if k.err == nil {
		k.options.Log.Error("a key can't be used", slog.String("key", k.options.Key), slog.Any("error", err))
	}
	k.conn, k.err = nil, err
	close(k.changed)
	k.changed = make(chan struct{})
}

// logWriter passes on what a helper writes to its standard error, a line each.
type logWriter struct {
	log  *slog.Logger
	rest []byte
}

// maxLine bounds a line, in octets.
const maxLine = 4 << 10

var _ io.Writer = (*logWriter)(nil)

func (w *logWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, rest, found := bytes.Cut(w.rest, []byte("\n"))
		if !found && len(w.rest) < maxLine {
			return len(p), nil
		}
		w.log.Warn("a key helper says", slog.String("line", string(line)))
		w.rest = append([]byte(nil), rest...)
	}
}
