// Package cloudkms is what the helpers for keys in the clouds' key services
// share (cmd/chancery-key-awskms, cmd/chancery-key-gcpkms): the reading of URIs,
// calls over HTTPS that are tried again and renew their credentials, and a
// wire.Store that does not ask the service more often than needed. It promises
// that every answer comes before the server takes the helper for hung. It knows
// no cloud.
package cloudkms

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"chancery/internal/keyhelper/wire"
)

// The times of a Store: its timeouts are shorter than those of the server,
// which ends helpers that do not answer.
const (
	openTimeout = 12 * time.Second
	callTimeout = 4 * time.Second
	wellFor     = 10 * time.Second // after the key was used or looked for
	awayFor     = time.Second      // after it was found away
	refusedFor  = 10 * time.Second // after an operator was found to have work to do
)

// Key is a key in a service. Errors that are not *wire.Error are taken as
// wire.Unavailable.
type Key interface {
	// Public is the key's DER SubjectPublicKeyInfo.
	Public(ctx context.Context) ([]byte, error)
	// Check reports why the key can't be used now. It does not sign.
	Check(ctx context.Context) error
	// Sign signs a digest.
	Sign(ctx context.Context, hash crypto.Hash, digest []byte) ([]byte, error)
}

// Store implements wire.Store with a key of a service.
type Store struct {
	Find func(uri string) (Key, error) // without asking the service; its error is lasting
	Now  func() time.Time

	mu      sync.Mutex
	key     Key       // nil before Open has succeeded; guarded by mu
	checked time.Time // when err was found out; guarded by mu
	err     error     // why the key can't be used; guarded by mu
}

// Main is the whole of a helper: it serves the server that started it until
// that closes the standard input, and returns the exit code.
func Main(name string, find func(uri string) (Key, error)) int {
	// A signal to all of a service must not come before the last signature.
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	if err := wire.Serve(os.Stdin, os.Stdout, &Store{Find: find, Now: time.Now}); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// Open implements wire.Store. There is no secret: credentials are where the
// cloud's own tools have them.
func (s *Store) Open(uri string, _ []byte) ([]byte, error) {
	key, err := s.Find(uri)
	if err != nil {
		return nil, wire.Errorf(wire.Refused, "%v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	public, err := key.Public(ctx)
	if err != nil {
		return nil, err
	}
	if err := supported(public); err != nil {
		return nil, err
	}
	if err := key.Check(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key, s.checked, s.err = key, s.Now(), nil
	return public, nil
}

// supported refuses keys that the services can't sign certificates with:
// they take Ed25519's messages only when these are short.
func supported(der []byte) error {
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return wire.Errorf(wire.Refused, "couldn't read the public key: %v", err)
	}
	switch public.(type) {
	case *ecdsa.PublicKey, *rsa.PublicKey:
		return nil
	}
	return wire.Errorf(wire.Refused, "the key is a %T; only ECDSA and RSA keys are supported", public)
}

// Check implements wire.Store. The service is asked when nothing was heard of
// it for a while, for each question costs.
func (s *Store) Check() error {
	s.mu.Lock()
	key, err, age := s.key, s.err, s.Now().Sub(s.checked)
	s.mu.Unlock()
	if age < lasts(err) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return s.note(key.Check(ctx))
}

// Sign implements wire.Store.
func (s *Store) Sign(hash crypto.Hash, digest []byte) ([]byte, error) {
	if !hash.Available() || len(digest) != hash.Size() {
		return nil, wire.Errorf(wire.Refused, "%d octets are no digest of %s", len(digest), wire.HashName(hash))
	}
	s.mu.Lock()
	key := s.key
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	signature, err := key.Sign(ctx, hash, digest)
	return signature, s.note(err)
}

// lasts is how long an answer of the service is taken for what it would answer
// again.
func lasts(err error) time.Duration {
	if err == nil {
		return wellFor
	}
	if told, ok := errors.AsType[*wire.Error](err); ok && told.Code == wire.Refused {
		return refusedFor
	}
	return awayFor
}

// note remembers what an answer says of the key.
func (s *Store) note(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checked, s.err = s.Now(), err
	return err
}
