package main

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"

	"github.com/miekg/pkcs11"

	"chancery/internal/keyhelper/wire"
)

// sessions is how many signatures are made at the same time.
const sessions = 4

// store is the token that holds the key.
type store struct {
	mu     sync.Mutex // held while the token is opened or closed
	uri    keyURI
	pin    string
	loaded *pkcs11.Ctx // the library; it stays once it is loaded
	token  *token      // nil while it is not open; guarded by mu
}

// Open implements wire.Store.
func (s *store) Open(key string, secret []byte) ([]byte, error) {
	uri, err := parseURI(key)
	if err != nil {
		return nil, wire.Errorf(wire.Refused, "%v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded != nil && uri.module != s.uri.module {
		return nil, wire.Errorf(wire.Refused, "another library is loaded already")
	}
	s.uri, s.pin = uri, string(secret)
	if err := s.open(); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(s.token.public)
	if err != nil {
		return nil, wire.Errorf(wire.Refused, "couldn't encode the public key: %v", err)
	}
	return der, nil
}

// open begins anew with the token: some libraries notice only when they are
// initialised that a token has come or gone. It is called with mu held.
func (s *store) open() error {
	if s.loaded == nil {
		if s.loaded = pkcs11.New(s.uri.module); s.loaded == nil {
			return wire.Errorf(wire.Refused, "couldn't load the library %s", s.uri.module)
		}
	}
	s.shut()
	if err := s.loaded.Initialize(); err != nil && !is(err, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		return fmt.Errorf("couldn't initialise the library %s: %w", s.uri.module, err)
	}
	opened, err := openToken(s.loaded, &s.uri, s.pin)
	if err != nil {
		_ = s.loaded.Finalize()
		return err
	}
	s.token = opened
	return nil
}

// shut ends what is open. It is called with mu held.
func (s *store) shut() {
	if s.token != nil {
		s.token.drain()
		_ = s.loaded.Finalize() // also ends all sessions
		s.token = nil
	}
}

func (s *store) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded != nil {
		s.shut()
		s.loaded.Destroy()
	}
}

// current is the open token; one that was lost is opened again.
func (s *store) current() (*token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == nil {
		if err := s.open(); err != nil {
			return nil, err
		}
	}
	return s.token, nil
}

// lose closes a token that doesn't work any more, unless somebody has done so.
func (s *store) lose(lost *token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == lost {
		s.shut()
	}
}

// Check implements wire.Store: the key must be found.
func (s *store) Check() error {
	return s.use(func(t *token, session *session) error { return t.check(session) })
}

// Sign implements wire.Store.
func (s *store) Sign(hash crypto.Hash, digest []byte) (signature []byte, err error) {
	err = s.use(func(t *token, session *session) (err error) {
		signature, err = t.sign(session, hash, digest)
		return err
	})
	return signature, err
}

// use runs work with a session. When the token fails it is opened again, and
// work runs once more.
func (s *store) use(work func(*token, *session) error) error {
	for attempt := 0; ; attempt++ {
		t, err := s.current()
		if err != nil {
			return err
		}
		session, ok := t.acquire()
		if !ok { // it was lost meanwhile
			if attempt == 0 {
				continue
			}
			return errors.New("the token is not there")
		}
		err = work(t, session)
		t.release(session)
		told, isTold := errors.AsType[*wire.Error](err)
		if err == nil || isTold && told.Code == wire.Refused {
			return err
		}
		s.lose(t)
		if attempt > 0 {
			return err
		}
	}
}

// is reports whether a library's error has a code.
func is(err error, code pkcs11.Error) bool {
	found, ok := errors.AsType[pkcs11.Error](err)
	return ok && found == code
}
