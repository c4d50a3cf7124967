package keyhelper

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chancery/internal/keyhelper/wire"
	"chancery/internal/keys"
)

// helperVariable makes the test binary a helper.
const helperVariable = "CHANCERY_TEST_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperVariable) == "" {
		os.Exit(m.Run())
	}
	fmt.Fprintln(os.Stderr, "a helper begins")
	if err := wire.Serve(os.Stdin, os.Stdout, new(fileStore)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// fileStore is a key store in a directory, the rest of the URI: the file key
// is the key; other files make faults. It writes its process id into pid.
type fileStore struct {
	dir string
	key crypto.Signer
}

func (s *fileStore) has(name string) bool {
	_, err := os.Stat(filepath.Join(s.dir, name))
	return err == nil
}

func (s *fileStore) Open(uri string, secret []byte) (_ []byte, err error) {
	_, s.dir, _ = strings.Cut(uri, ":")
	s.dir, _, _ = strings.Cut(s.dir, "?")
	if s.has("pin") && string(secret) != "1234" {
		return nil, wire.Errorf(wire.Refused, "the PIN is wrong")
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	if s.key, err = keys.ReadFile(filepath.Join(s.dir, "key")); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "pid.new"), fmt.Append(nil, os.Getpid()), 0o600); err != nil {
		return nil, err
	}
	if err := os.Rename(filepath.Join(s.dir, "pid.new"), filepath.Join(s.dir, "pid")); err != nil {
		return nil, err
	}
	return x509.MarshalPKIXPublicKey(s.key.Public())
}

func (s *fileStore) Check() error {
	if s.has("away") {
		return errors.New("the token is away")
	}
	return nil
}

func (s *fileStore) Sign(hash crypto.Hash, digest []byte) ([]byte, error) {
	switch {
	case s.has("hang"):
		select {}
	case s.has("crash"):
		_ = os.Remove(filepath.Join(s.dir, "crash"))
		os.Exit(3)
	case s.has("wrong"):
		digest = make([]byte, len(digest))
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	return s.key.Sign(nil, digest, hash)
}
