package fault

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"regexp"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
)

// client is an ACME account with a connection of its own. Only one goroutine
// uses it.
type client struct {
	*acmetest.Client
}

// reconnect forgets the connections and nonces of a server that is gone.
func (c *client) reconnect() {
	c.HTTP.CloseIdleConnections()
	c.Client = &acmetest.Client{HTTP: c.HTTP, Directory: c.Directory, Key: c.Key, AccountURL: c.AccountURL}
}

// checkAccount asks for the account by its key.
func (c *client) checkAccount(ctx context.Context) error {
	asker := &acmetest.Client{HTTP: c.HTTP, Directory: c.Directory, Key: c.Key}
	if _, err := asker.Register(ctx, map[string]any{"onlyReturnExisting": true}); err != nil {
		return fmt.Errorf("the account %s is gone: %w", c.AccountURL, err)
	}
	if asker.AccountURL != c.AccountURL {
		return fmt.Errorf("the account %s is now %s", c.AccountURL, asker.AccountURL)
	}
	return nil
}

// whole lets answers through only when they are whole, and those of status 503
// only when they say when to come back.
type whole struct{ *http.Transport }

// cutError is a request without a whole answer.
type cutError struct {
	error
	torn bool // a part of the answer came
}

func (e *cutError) Unwrap() error { return e.error }

func (w whole) RoundTrip(req *http.Request) (*http.Response, error) {
	torn := false
	trace := &httptrace.ClientTrace{GotFirstResponseByte: func() { torn = true }}
	resp, err := w.Transport.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	if err != nil {
		return nil, &cutError{err, torn}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, &cutError{err, true}
	}
	if resp.StatusCode == http.StatusServiceUnavailable && !wholeSeconds.MatchString(resp.Header.Get("Retry-After")) {
		return nil, fmt.Errorf("%s %s: status 503 without Retry-After: %s", req.Method, req.URL, body)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

var wholeSeconds = regexp.MustCompile(`^[1-9][0-9]*$`)

// ticket is an order as its client knows it: all of it was acknowledged.
type ticket struct {
	client *client
	names  []acmetest.Name
	order  *acmetest.Order
	leaf   *x509.Certificate // nil until it was downloaded
}

// serial is the certificate's as listings have it.
func (k *ticket) serial() string { return fmt.Sprintf("%040x", k.leaf.SerialNumber) }

// certificateKey is the key that all certificates of the tests are for.
func certificateKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// take orders a certificate for an address.
func (c *client) take(ctx context.Context, address string) (*ticket, error) {
	names := acmetest.IP(address)
	order, err := c.NewOrder(ctx, names, nil)
	if err != nil {
		return nil, err
	}
	return &ticket{client: c, names: names, order: order}, nil
}

// advance takes the order one step further, from whatever state it is in.
func (k *ticket) advance(ctx context.Context, proofs *target, key *ecdsa.PrivateKey) error {
	switch k.order.Status {
	case "pending":
		if err := k.client.Prove(ctx, k.order, "http-01", proofs.expect); err != nil {
			return err
		}
		return k.read(ctx)
	case "ready":
		return k.finalize(ctx, key)
	case "processing":
		select {
		case <-time.After(20 * time.Millisecond):
			return k.read(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	case "valid":
		return k.download(ctx)
	default:
		whole, err := json.Marshal(k.order)
		return errors.Join(fmt.Errorf("the order %s is %s: %s", k.order.URL, k.order.Status, whole), err)
	}
}

// complete takes the order to its end.
func (k *ticket) complete(ctx context.Context, proofs *target, key *ecdsa.PrivateKey) error {
	for k.leaf == nil {
		if err := k.advance(ctx, proofs, key); err != nil {
			return err
		}
	}
	return nil
}

// read asks for the order again.
func (k *ticket) read(ctx context.Context) error {
	order, err := k.client.ReadOrder(ctx, k.order.URL)
	if err != nil {
		return fmt.Errorf("couldn't read the order %s: %w", k.order.URL, err)
	}
	order.URL, k.order = k.order.URL, order
	return nil
}

func (k *ticket) finalize(ctx context.Context, key *ecdsa.PrivateKey) error {
	csr, err := acmetest.CSR(key, k.names)
	if err != nil {
		return err
	}
	resp, err := k.client.Post(ctx, k.order.Finalize, map[string]string{"csr": acmetest.Encode(csr)})
	if err != nil {
		return fmt.Errorf("couldn't finalize the order %s: %w", k.order.URL, err)
	}
	order := &acmetest.Order{URL: k.order.URL}
	if err := resp.Decode(order); err != nil {
		return err
	}
	k.order = order
	return nil
}

// download fetches the certificate, which must be the one fetched before, if
// one was.
func (k *ticket) download(ctx context.Context) error {
	chain, err := k.client.Download(ctx, k.order)
	if err != nil {
		return fmt.Errorf("couldn't download the certificate of %s: %w", k.order.URL, err)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return err
	}
	if k.leaf != nil && !k.leaf.Equal(leaf) {
		return fmt.Errorf("%s was another certificate before", k.order.Certificate)
	}
	k.leaf = leaf
	return nil
}

// progress orders the states of an order.
func progress(status string) int {
	switch status {
	case "pending":
		return 1
	case "ready":
		return 2
	case "processing":
		return 3
	case "valid":
		return 4
	default:
		return 0
	}
}

// resume goes on with an order after the server came back: it must be no
// further back than its client was told.
func (k *ticket) resume(ctx context.Context, proofs *target, key *ecdsa.PrivateKey) error {
	told := k.order.Status
	if err := k.read(ctx); err != nil {
		return err
	}
	if progress(k.order.Status) < progress(told) {
		return fmt.Errorf("the order %s was %s and is %s now", k.order.URL, told, k.order.Status)
	}
	return k.complete(ctx, proofs, key)
}

// isCut reports whether a request got no answer, rather than a bad one.
func isCut(err error) bool {
	_, cut := errors.AsType[*cutError](err)
	return cut
}

// isUnavailable reports whether a request was answered with 503.
func isUnavailable(err error) bool {
	problem, ok := errors.AsType[*acmetest.Problem](err)
	return ok && problem.Status == http.StatusServiceUnavailable
}
