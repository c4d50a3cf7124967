package bench

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"chancery/internal/identifier"
)

// The objects of RFC 8555 §7.1, as far as they are needed.
type (
	order struct {
		Status         string   `json:"status"`
		Error          *problem `json:"error"`
		Authorizations []string `json:"authorizations"`
		Finalize       string   `json:"finalize"`
		Certificate    string   `json:"certificate"`
	}
	authorization struct {
		Status     string      `json:"status"`
		Challenges []challenge `json:"challenges"`

		Identifier identifier.Identifier `json:"identifier"`
	}
	challenge struct {
		Type   string   `json:"type"`
		URL    string   `json:"url"`
		Token  string   `json:"token"`
		Status string   `json:"status"`
		Error  *problem `json:"error"`
	}
)

const (
	statusValid   = "valid"
	statusInvalid = "invalid"
)

// newOrder is the payload of a new order.
type newOrder struct {
	Identifiers []identifier.Identifier `json:"identifiers"`
	Profile     string                  `json:"profile,omitempty"`
}

// issue gets a certificate for ids, from the order to the download.
func (c *client) issue(ctx context.Context, ids []identifier.Identifier) error {
	by := c.accounts[c.turn%len(c.accounts)]
	c.turn++
	got, err := c.post(ctx, by, c.directory.NewOrder, newOrder{ids, c.Profile})
	if err != nil {
		return err
	}
	o, url := &order{}, got.header.Get("Location")
	if err := got.decode(o); err != nil {
		return err
	}
	if url == "" || o.Finalize == "" {
		return fmt.Errorf("no URL in the answer to an order: %w", errAnswer)
	}
	if err := c.prove(ctx, by, o.Authorizations); err != nil {
		return err
	}
	csr, err := c.csrs.request(ids)
	if err != nil {
		return err
	}
	if err := c.finalize(ctx, by, o, url, csr); err != nil {
		return err
	}
	chain, err := c.post(ctx, by, o.Certificate, nil)
	if err == nil && !bytes.Contains(chain.body, []byte("-----BEGIN CERTIFICATE-----")) {
		err = fmt.Errorf("no certificate in the answer: %w", errAnswer)
	}
	return err
}

// prove answers all challenges first and then waits for their outcomes.
func (c *client) prove(ctx context.Context, by *account, authorizations []string) error {
	var waiting []string
	for _, url := range authorizations {
		authz := &authorization{}
		if err := c.read(ctx, by, url, authz); err != nil {
			return err
		}
		if authz.Status == statusValid {
			continue
		}
		expected, settled, err := c.respond(ctx, by, authz)
		if expected != nil {
			defer c.answers.remove(expected)
		}
		if err != nil {
			return err
		}
		if !settled {
			waiting = append(waiting, url)
		}
	}
	for _, url := range waiting {
		if err := c.awaitValid(ctx, by, url); err != nil {
			return err
		}
	}
	return nil
}

// respond puts up the answer to a challenge and has the server look at it. It
// reports whether the authorization is valid already.
func (c *client) respond(ctx context.Context, by *account, authz *authorization) (expected *proof, settled bool, err error) {
	offered, err := authz.offered(c.Challenge)
	if err != nil {
		return nil, false, err
	}
	expected = &proof{c.Challenge, authz.Identifier, offered.Token, by.keyAuthorization(offered.Token)}
	if err := c.answers.put(expected); err != nil {
		return nil, false, err
	}
	got, err := c.post(ctx, by, offered.URL, struct{}{})
	if err != nil {
		return expected, false, err
	}
	answered := &challenge{}
	if err := got.decode(answered); err != nil {
		return expected, false, err
	}
	if answered.Status == statusInvalid {
		return expected, false, answered.failure()
	}
	return expected, answered.Status == statusValid, nil
}

func (a *authorization) offered(kind string) (*challenge, error) {
	for i := range a.Challenges {
		if a.Challenges[i].Type == kind {
			return &a.Challenges[i], nil
		}
	}
	return nil, &outcome{"challenge", "not offered"}
}

func (c *challenge) failure() error {
	if c.Error != nil {
		return c.Error
	}
	return &outcome{"challenge", c.Status}
}

// awaitValid polls an authorization until its outcome is known.
func (c *client) awaitValid(ctx context.Context, by *account, url string) error {
	authz := &authorization{Status: "pending"}
	err := c.poll(ctx, func() (bool, error) {
		err := c.read(ctx, by, url, authz)
		return authz.Status != "pending", err
	})
	if err != nil || authz.Status == statusValid {
		return err
	}
	for i := range authz.Challenges {
		if authz.Challenges[i].Error != nil {
			return authz.Challenges[i].failure()
		}
	}
	return &outcome{"authorization", authz.Status}
}

// finalize sends the CSR and waits until the order is valid.
func (c *client) finalize(ctx context.Context, by *account, o *order, url string, csr []byte) error {
	got, err := c.post(ctx, by, o.Finalize, map[string]string{"csr": encode(csr)})
	if err != nil {
		return err
	}
	if err := got.decode(o); err != nil {
		return err
	}
	settled := func() bool { return o.Status == statusValid || o.Status == statusInvalid }
	if !settled() {
		err = c.poll(ctx, func() (bool, error) {
			err := c.read(ctx, by, url, o)
			return settled(), err
		})
	}
	switch {
	case err != nil:
		return err
	case o.Status == statusValid && o.Certificate == "":
		return fmt.Errorf("no certificate's URL in the answer: %w", errAnswer)
	case o.Status == statusValid:
		return nil
	case o.Error != nil:
		return o.Error
	default:
		return &outcome{"order", o.Status}
	}
}

// read decodes a resource.
func (c *client) read(ctx context.Context, by *account, url string, into any) error {
	got, err := c.post(ctx, by, url, nil)
	if err != nil {
		return err
	}
	return got.decode(into)
}

// The bounds of the time between two polls.
const (
	minPoll = 5 * time.Millisecond
	maxPoll = 500 * time.Millisecond
)

// poll looks until there is an outcome: first after half of what it took the
// time before, then at growing intervals. The server's Retry-After is not
// heeded, for then that would be what is measured.
func (c *client) poll(ctx context.Context, look func() (done bool, err error)) error {
	began := c.Now()
	for wait := c.usual / 2; ; wait += wait / 2 {
		wait = min(max(wait, minPoll), maxPoll)
		if err := pause(ctx, wait); err != nil {
			return err
		}
		if done, err := look(); done || err != nil {
			c.usual = c.Now().Sub(began)
			return err
		}
	}
}
