// Package helpertest is a key helper for tests, which makes faults on demand.
// A test binary becomes one by calling Main first in its TestMain. It is no way
// to keep a key.
package helpertest

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"chancery/internal/keyhelper/wire"
	"chancery/internal/keys"
)

// variable makes the process a helper.
const variable = "CHANCERY_TEST_HELPER"

// Main serves as a helper, and then exits, if this process is to be one;
// otherwise those it starts are.
func Main() {
	if os.Getenv(variable) == "" {
		_ = os.Setenv(variable, "1") // fails only for bad names
		return
	}
	fmt.Fprintln(os.Stderr, "a helper begins")
	if err := wire.Serve(os.Stdin, os.Stdout, new(store)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// The files in the directory of a key. Those of the second group need not
// exist; while they do, they make faults.
const (
	Key = "key" // the key, PEM
	PID = "pid" // written by the helper, once it has opened the key

	PIN   = "pin"   // a PIN is asked for, 1234
	Away  = "away"  // the token is not there
	Hang  = "hang"  // signing never ends
	Crash = "crash" // the next to sign removes the file and dies
	Wrong = "wrong" // signatures are of something else
)

// URI is the key in a directory.
func URI(dir string) string { return "fake:" + dir }

// Process is the id of the helper that has opened the key in a directory last,
// or 0.
func Process(dir string) int {
	text, err := os.ReadFile(filepath.Join(dir, PID))
	if err != nil {
		return 0
	}
	id, _ := strconv.Atoi(string(text))
	return id
}

// store implements wire.Store.
type store struct {
	dir string
	key crypto.Signer
}

func (s *store) has(name string) bool {
	_, err := os.Stat(filepath.Join(s.dir, name))
	return err == nil
}

func (s *store) Open(uri string, secret []byte) (_ []byte, err error) {
	_, s.dir, _ = strings.Cut(uri, ":")
	s.dir, _, _ = strings.Cut(s.dir, "?")
	if s.has(PIN) && string(secret) != "1234" {
		return nil, wire.Errorf(wire.Refused, "the PIN is wrong")
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	if s.key, err = keys.ReadFile(filepath.Join(s.dir, Key)); err != nil {
		return nil, err
	}
	temporary := filepath.Join(s.dir, PID+".new")
	if err := os.WriteFile(temporary, fmt.Append(nil, os.Getpid()), 0o600); err != nil {
		return nil, err
	}
	if err := os.Rename(temporary, filepath.Join(s.dir, PID)); err != nil {
		return nil, err
	}
	return x509.MarshalPKIXPublicKey(s.key.Public())
}

func (s *store) Check() error {
	if s.has(Away) {
		return errors.New("the token is away")
	}
	return nil
}

func (s *store) Sign(hash crypto.Hash, digest []byte) ([]byte, error) {
	switch {
	case s.has(Hang):
		select {}
	case s.has(Crash):
		_ = os.Remove(filepath.Join(s.dir, Crash)) // it dies in any case
		os.Exit(3)
	case s.has(Wrong):
		digest = make([]byte, len(digest))
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	return s.key.Sign(nil, digest, hash)
}
