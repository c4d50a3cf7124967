// Package keyhelper signs with keys that other programs hold: an HSM's library
// in a process of its own, the client of a cloud's key service. It starts the
// helper, watches it, starts it again when it crashes or hangs, and promises
// that what Sign returns is a good signature by the right key, whatever the
// helper does. It does not know any key store; package wire is the protocol.
package keyhelper

import (
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"chancery/internal/failure"
	"chancery/internal/keyhelper/wire"
)

// Options say which key is meant and how to reach it.
type Options struct {
	Path    string                 // the helper program
	Env     []string               // of the helper; nil for that of this process
	Key     string                 // the key's URI, as the helper reads it
	Secret  func() ([]byte, error) // what opens the key store, read at each start; nil for nothing
	Public  crypto.PublicKey       // the key that it must be; nil for whichever it is, see Open
	Timeout time.Duration          // of one request; default 5 s
	Log     *slog.Logger           // nil for none
}

// The times of supervision.
const (
	defaultTimeout = 5 * time.Second
	openTimeout    = 15 * time.Second       // a module may take long to load
	checkEvery     = 2 * time.Second        // while all is well
	recheckEvery   = 250 * time.Millisecond // while the token is away
	minWait        = 50 * time.Millisecond  // before the helper is started again
	maxWait        = 5 * time.Second
	maxLost        = 3               // helpers in a row that end while they open the key, until that is told
	endWait        = 2 * time.Second // until a helper that should end is killed
)

// Key is a crypto.Signer whose key a helper holds. Its methods may be called
// by any number of goroutines.
type Key struct {
	options Options
	ctx     context.Context // of the supervisor
	cancel  context.CancelFunc
	done    chan struct{} // closed when the supervisor has ended

	mu      sync.Mutex
	public  crypto.PublicKey // guarded by mu until it is set, which happens once
	conn    *conn            // nil while there is none to ask; guarded by mu
	err     error            // why the key can't be used; nil while it can, or the helper is just being started; guarded by mu
	changed chan struct{}    // closed at the next change of conn or err; guarded by mu
}

// Start begins to supervise a helper and returns at once; Close must be called.
// options.Public is required.
func Start(options Options) *Key {
	if options.Timeout == 0 {
		options.Timeout = defaultTimeout
	}
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	k := &Key{
		options: options, ctx: ctx, cancel: cancel, done: make(chan struct{}),
		public: options.Public, changed: make(chan struct{}),
	}
	go k.supervise() // Close waits for it
	return k
}

// Open is Start for when the public key is to be learned from the helper: it
// waits until that has told, or its first attempt has failed.
func Open(ctx context.Context, options Options) (*Key, error) {
	k := Start(options)
	ctx, cancel := context.WithTimeout(ctx, openTimeout+endWait)
	defer cancel()
	if _, err := k.await(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("couldn't open the key %s: %w", options.Key, err), k.Close())
	}
	return k, nil
}

// Close ends the helper.
func (k *Key) Close() error {
	k.cancel()
	<-k.done
	return nil
}

// Public is the public key; nil before Open has returned.
func (k *Key) Public() crypto.PublicKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.public
}

// Check says, without asking the helper, why the key can't be used now. While a
// helper that worked is being started again, which takes a moment that Sign
// waits for, it says nothing.
func (k *Key) Check() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// Sign is SignContext for a crypto.Signer; randomness is the helper's affair.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.SignContext(context.Background(), digest, opts)
}

// maxTries is how many helpers are asked for one signature, should they crash.
const maxTries = 3

// SignContext signs a digest, or for Ed25519 a message: RSA with PKCS #1 v1.5.
// When the helper ends before it has answered, the next one is asked: what the
// first may have signed is gone with it. Each attempt has the options' timeout;
// a helper that exceeds it is ended. The error is a failure of kind Unavailable.
func (k *Key) SignContext(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, pss := opts.(*rsa.PSSOptions); pss {
		return nil, errors.New("couldn't sign: RSA-PSS is not supported")
	}
	request := wire.Request{Method: wire.Sign, Hash: wire.HashName(opts.HashFunc()), Digest: digest}
	var err error
	for range maxTries {
		var signature []byte
		if signature, err = k.trySign(ctx, request, opts.HashFunc()); err == nil {
			return signature, nil
		}
		if !errors.Is(err, errLost) {
			break
		}
	}
	return nil, unavailable(err)
}

func unavailable(err error) error {
	return &failure.Error{
		Op: "sign with the key helper", Kind: failure.Unavailable, Err: err, RetryAfter: 10 * time.Second,
		Public: "the CA's key cannot be used just now",
	}
}

func (k *Key) trySign(ctx context.Context, request wire.Request, hash crypto.Hash) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, k.options.Timeout)
	defer cancel()
	conn, err := k.await(ctx)
	if err != nil {
		return nil, err
	}
	response, err := conn.do(ctx, request)
	if err != nil {
		k.report(conn, err)
		return nil, err
	}
	if err := verify(k.Public(), hash, request.Digest, response.Signature); err != nil {
		k.report(conn, err)
		return nil, err
	}
	return response.Signature, nil
}

// await waits while a helper is being started.
func (k *Key) await(ctx context.Context) (*conn, error) {
	for {
		k.mu.Lock()
		conn, err, changed := k.conn, k.err, k.changed
		k.mu.Unlock()
		if conn != nil || err != nil {
			return conn, err
		}
		select {
		case <-changed:
		case <-k.done:
			return nil, errors.New("the key is closed")
		case <-ctx.Done():
			return nil, fmt.Errorf("couldn't reach the helper: %w", ctx.Err())
		}
	}
}
