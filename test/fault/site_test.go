package fault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
)

// network is loopback addresses that no other test has.
type network string

// networks counts those made by this process.
var networks atomic.Uint32

func newNetwork() network {
	return network(fmt.Sprintf("127.%d.%d.", 10+os.Getpid()%200, 200+networks.Add(1)))
}

// host is an address of the network with a port below those that the system
// gives to connections, so that a server can always come back to it.
func (n network) host(number int) string { return fmt.Sprintf("%s%d:9443", n, number) }

// site is a CA as those see it who reach it by a network.
type site struct {
	base     string // https://HOST:PORT
	roots    *x509.CertPool
	unsteady bool // each request has a connection of its own, so that any node gets it
}

// get asks the CA for a page; the status is 0 when it does not answer.
func (s *site) get(path string) (status int, body string) {
	client := &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots}, DisableKeepAlives: true},
		Timeout:   10 * time.Second,
	}
	resp, err := client.Get(s.base + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(read)
}

// ready asks the CA whether it is.
func (s *site) ready() error {
	if status, body := s.get("/readyz"); status != http.StatusOK {
		return fmt.Errorf("status %d: %s", status, body)
	}
	return nil
}

// refuses asks the CA whether it says that it is not ready, as it should.
func (s *site) refuses() error {
	if status, body := s.get("/readyz"); status != http.StatusServiceUnavailable {
		return fmt.Errorf("status %d: %s", status, body)
	}
	return nil
}

// hang is how long a client waits for an answer before it says that there will
// be none.
const hang = time.Minute

// newClient makes a client that has no account yet.
func (s *site) newClient(ctx context.Context) (*client, error) {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots}, DisableKeepAlives: s.unsteady}
	made, err := acmetest.NewClient(ctx, &http.Client{Transport: whole{transport}, Timeout: hang}, s.base+"/acme/directory")
	return &client{made}, err
}

// register makes a client with an account.
func (s *site) register(ctx context.Context) (*client, error) {
	c, err := s.newClient(ctx)
	if err == nil {
		_, err = c.Register(ctx, nil)
	}
	return c, err
}

func (s *site) mustRegister(t *testing.T) *client {
	t.Helper()
	c, err := s.register(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}
