package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"chancery/client"
)

// What the examples need around them: a server, a token, a key file.

const exampleAddress = "127.0.0.1:28443"

var exampleDoor = sync.OnceValue(newDoor)

func exampleCA() (server string, roots *x509.CertPool) {
	d := exampleDoor()
	return d.URL, client.Pool(d.root)
}

func exampleFingerprint() (server, fingerprint string) {
	d := exampleDoor()
	return d.URL, client.Fingerprint(d.root)
}

// oneTimeToken gets a token from where the program may get one.
func oneTimeToken(context.Context) (string, error) { return "token", nil }

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(filepath.Dir(exampleKeyFile()))
	os.Exit(code)
}

var exampleKeyFile = sync.OnceValue(func() string {
	dir := must1(os.MkdirTemp("", "client-example-"))
	key := must1(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	path := filepath.Join(dir, "deploy.jwk")
	if err := os.WriteFile(path, must1(client.MarshalKey(key)), 0o600); err != nil {
		panic(err)
	}
	return path
})

func must1[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
