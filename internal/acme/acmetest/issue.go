package acmetest

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"time"
)

// Register creates the client's account with the members given.
func (c *Client) Register(ctx context.Context, members map[string]any) (*Response, error) {
	if members == nil {
		members = map[string]any{}
	}
	resp, err := c.Post(ctx, c.Directory.NewAccount, members)
	if err == nil {
		c.AccountURL = resp.Location()
	}
	return resp, err
}

// Order is an order as a client sees it.
type Order struct {
	URL            string   `json:"-"`
	Status         string   `json:"status"`
	Expires        string   `json:"expires"`
	Identifiers    []Name   `json:"identifiers"`
	Profile        string   `json:"profile"`
	Replaces       string   `json:"replaces"`
	Error          *Problem `json:"error"`
	Authorizations []string `json:"authorizations"`
	Finalize       string   `json:"finalize"`
	Certificate    string   `json:"certificate"`
}

// Authorization is an authorization as a client sees it.
type Authorization struct {
	Identifier Name        `json:"identifier"`
	Status     string      `json:"status"`
	Wildcard   bool        `json:"wildcard"`
	Challenges []Challenge `json:"challenges"`
}

// Challenge is a challenge as a client sees it.
type Challenge struct {
	Type   string   `json:"type"`
	URL    string   `json:"url"`
	Status string   `json:"status"`
	Token  string   `json:"token"`
	Error  *Problem `json:"error"`
}

// Of returns the challenge of a type.
func (a *Authorization) Of(kind string) (Challenge, error) {
	for _, challenge := range a.Challenges {
		if challenge.Type == kind {
			return challenge, nil
		}
	}
	return Challenge{}, fmt.Errorf("no challenge %s is offered for %s", kind, a.Identifier.Value)
}

// NewOrder orders a certificate; members are added to the request.
func (c *Client) NewOrder(ctx context.Context, names []Name, members map[string]any) (*Order, error) {
	request := map[string]any{"identifiers": names}
	for member, value := range members {
		request[member] = value
	}
	return c.order(c.Post(ctx, c.Directory.NewOrder, request))
}

// ReadOrder reads an order again.
func (c *Client) ReadOrder(ctx context.Context, url string) (*Order, error) {
	return c.order(c.Post(ctx, url, nil))
}

func (c *Client) order(resp *Response, err error) (*Order, error) {
	if err != nil {
		return nil, err
	}
	order := &Order{URL: resp.Location()}
	return order, resp.Decode(order)
}

// ReadAuthorization reads an authorization.
func (c *Client) ReadAuthorization(ctx context.Context, url string) (*Authorization, error) {
	resp, err := c.Post(ctx, url, nil)
	if err != nil {
		return nil, err
	}
	authz := &Authorization{}
	return authz, resp.Decode(authz)
}

// Solver makes a challenge's answer visible to the CA.
type Solver func(authz *Authorization, challenge Challenge, keyAuthorization string)

// Prove answers the challenge of that type of each of the order's pending
// authorizations, and waits until all are valid.
func (c *Client) Prove(ctx context.Context, order *Order, kind string, solve Solver) error {
	for _, url := range order.Authorizations {
		authz, err := c.ReadAuthorization(ctx, url)
		if err != nil {
			return err
		}
		if authz.Status == "valid" {
			continue
		}
		challenge, err := authz.Of(kind)
		if err != nil {
			return err
		}
		solve(authz, challenge, c.KeyAuthorization(challenge.Token))
		resp, err := c.Post(ctx, challenge.URL, struct{}{})
		if err != nil {
			return err
		}
		if err := resp.Decode(&challenge); err != nil {
			return err
		}
		if challenge.Status == "valid" {
			continue
		}
		if authz, err = c.Settled(ctx, url); err != nil {
			return err
		}
		if authz.Status != "valid" {
			return fmt.Errorf("the authorization for %s is %s: %v", authz.Identifier.Value, authz.Status, authz.Challenges)
		}
	}
	return nil
}

// Settled polls an authorization until its outcome is known.
func (c *Client) Settled(ctx context.Context, url string) (*Authorization, error) {
	for {
		authz, err := c.ReadAuthorization(ctx, url)
		if err != nil || authz.Status != "pending" {
			return authz, err
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
}

// pause is the time between two polls.
func pause(ctx context.Context) error {
	timer := time.NewTimer(20 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// CSR makes a DER request for the names, signed by key.
func CSR(key crypto.Signer, names []Name) ([]byte, error) {
	template := &x509.CertificateRequest{Subject: pkix.Name{}}
	for _, name := range names {
		if name.Type == "ip" {
			template.IPAddresses = append(template.IPAddresses, net.ParseIP(name.Value))
		} else {
			template.DNSNames = append(template.DNSNames, name.Value)
		}
	}
	return x509.CreateCertificateRequest(rand.Reader, template, key)
}

// Finalize sends the CSR and waits until the order is settled.
func (c *Client) Finalize(ctx context.Context, order *Order, csr []byte) (*Order, error) {
	done, err := c.order(c.Post(ctx, order.Finalize, map[string]string{"csr": Encode(csr)}))
	for err == nil && done.Status == "processing" {
		if err = pause(ctx); err == nil {
			done, err = c.ReadOrder(ctx, order.URL)
		}
	}
	if err == nil && done.Status != "valid" {
		err = fmt.Errorf("the order is %s: %w", done.Status, done.Error)
	}
	return done, err
}

// Download returns the chain of a valid order, leaf first, in DER.
func (c *Client) Download(ctx context.Context, order *Order) ([][]byte, error) {
	resp, err := c.Post(ctx, order.Certificate, nil)
	if err != nil {
		return nil, err
	}
	var chain [][]byte
	for block, rest := pem.Decode(resp.Body); block != nil; block, rest = pem.Decode(rest) {
		chain = append(chain, block.Bytes)
	}
	if len(chain) == 0 {
		return nil, errors.New("couldn't find a certificate in the answer")
	}
	return chain, nil
}

// Issue does it all: order, proof, CSR by key, finalize, download.
func (c *Client) Issue(ctx context.Context, names []Name, key crypto.Signer, kind string, solve Solver) ([][]byte, error) {
	order, err := c.NewOrder(ctx, names, nil)
	if err != nil {
		return nil, err
	}
	if err := c.Prove(ctx, order, kind, solve); err != nil {
		return nil, err
	}
	csr, err := CSR(key, names)
	if err != nil {
		return nil, err
	}
	if order, err = c.Finalize(ctx, order, csr); err != nil {
		return nil, err
	}
	return c.Download(ctx, order)
}
