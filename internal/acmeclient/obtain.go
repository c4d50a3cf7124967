package acmeclient

import (
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"chancery/internal/identifier"
	"chancery/internal/keys"
)

// Request is what Obtain is asked for.
type Request struct {
	Names    []identifier.Identifier
	Profile  string // "" for the server's default
	Key      crypto.Signer
	Method   Method
	Replaces *x509.Certificate // the one that is renewed (RFC 9773 §5); may be nil
}

// Obtain proves control of the names and returns the certificate, leaf first.
func (c *Client) Obtain(ctx context.Context, r Request) ([]*x509.Certificate, error) {
	solver, err := r.Method.solver(r.Names)
	if err != nil {
		return nil, err
	}
	csr, err := NewCSR(c.Rand, r.Key, "", r.Names)
	if err != nil {
		return nil, err
	}
	if err := c.checkProfile(ctx, r.Profile); err != nil {
		return nil, err
	}
	account, err := c.account(ctx)
	if err != nil {
		return nil, err
	}
	order, err := c.order(ctx, account, r)
	if err != nil {
		return nil, err
	}
	if err := c.authorize(ctx, account, order, solver); err != nil {
		return nil, err
	}
	if order, err = c.acme.FinalizeOrder(ctx, account, order, csr); err != nil {
		return nil, explain("finalize the order", err)
	}
	chains, err := c.acme.GetCertificateChain(ctx, account, order.Certificate)
	if err != nil {
		return nil, explain("download the certificate", err)
	}
	return parseChain(chains[0].ChainPEM, r.Key.Public())
}

func (c *Client) checkProfile(ctx context.Context, profile string) error {
	directory, err := c.directory(ctx)
	if err != nil || profile == "" {
		return err
	}
	failed := &Error{op: "ask for the profile " + profile}
	if directory.Meta == nil || len(directory.Meta.Profiles) == 0 {
		failed.err, failed.hint = errors.New("the server has no profiles"), "leave out --profile"
		return failed
	}
	if _, found := directory.Meta.Profiles[profile]; found {
		return nil
	}
	known := slices.Sorted(maps.Keys(directory.Meta.Profiles))
	failed.err, failed.hint = errors.New("the server has no such profile"), "it has "+strings.Join(known, ", ")
	return failed
}

// order places the order. Naming the certificate that is replaced is only a
// courtesy: when the server does not take it, the order is placed without (RFC
// 9773 §5).
func (c *Client) order(ctx context.Context, account acme.Account, r Request) (acme.Order, error) {
	const op = "order the certificate"
	wanted := acme.Order{Profile: r.Profile, Replaces: c.replaces(ctx, r.Replaces)}
	for _, name := range r.Names {
		wanted.Identifiers = append(wanted.Identifiers, acme.Identifier{Type: string(name.Type), Value: name.Value})
	}
	placed, err := c.acme.NewOrder(ctx, account, wanted)
	if wanted.Replaces == "" || err == nil && isOpen(placed) || err != nil && !refusesReplaces(err) {
		return placed, explain(op, err)
	}
	wanted.Replaces = ""
	placed, err = c.acme.NewOrder(ctx, account, wanted)
	return placed, explain(op, err)
}

// replaces is how an order names the certificate that it replaces; "" when
// there is none or the server does not know of such things.
func (c *Client) replaces(ctx context.Context, old *x509.Certificate) string {
	directory, err := c.directory(ctx)
	if old == nil || err != nil || directory.RenewalInfo == "" {
		return ""
	}
	id, err := acme.ARIUniqueIdentifier(old)
	if err != nil {
		return ""
	}
	return id
}

// isOpen reports whether an order waits for us. One with "replaces" can be that
// of an interrupted renewal, already finalized with a key that is gone.
func isOpen(order acme.Order) bool {
	return order.Status == acme.StatusPending || order.Status == acme.StatusReady
}

// refusesReplaces reports whether an error can mean that the certificate is
// unknown, another account's, or replaced already.
func refusesReplaces(err error) bool {
	return isProblem(err, acme.ProblemTypeAlreadyReplaced, acme.ProblemTypeMalformed, acme.ProblemTypeUnauthorized)
}

// NewCSR makes the request, in DER; the profile decides everything but names and
// key. An empty common name is left out.
func NewCSR(rand io.Reader, key crypto.Signer, commonName string, names []identifier.Identifier) ([]byte, error) {
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: commonName}}
	for _, name := range names {
		switch name.Type {
		case identifier.IP:
			template.IPAddresses = append(template.IPAddresses, net.IP(name.Addr().AsSlice()))
		case identifier.Email:
			template.EmailAddresses = append(template.EmailAddresses, name.Value)
		case identifier.URI:
			uri, err := url.Parse(name.Value)
			if err != nil {
				return nil, fmt.Errorf("couldn't make the certificate signing request: %w", err)
			}
			template.URIs = append(template.URIs, uri)
		default:
			template.DNSNames = append(template.DNSNames, name.Value)
		}
	}
	csr, err := x509.CreateCertificateRequest(rand, template, key)
	if err != nil {
		return nil, fmt.Errorf("couldn't make the certificate signing request: %w", err)
	}
	return csr, nil
}

// parseChain reads the downloaded chain and checks that it is for our key.
func parseChain(text []byte, public crypto.PublicKey) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("couldn't read the certificate from the server: %w", err)
		}
		chain = append(chain, certificate)
	}
	if len(chain) == 0 {
		return nil, errors.New("couldn't read the certificate from the server: it sent none")
	}
	if !keys.Equal(chain[0].PublicKey, public) {
		return nil, errors.New("the server sent a certificate for another key")
	}
	return chain, nil
}

// attempt is one name that is being validated.
type attempt struct {
	name          string
	authorization acme.Authorization
	challenge     acme.Challenge
}

// authorize has every name of the order validated. All challenges are put up
// before the first is announced, and the error tells of every name that failed.
func (c *Client) authorize(ctx context.Context, account acme.Account, order acme.Order, solver solver) (err error) {
	var attempts []*attempt
	defer func() { c.cleanUp(ctx, attempts, solver) }()
	for _, url := range order.Authorizations {
		next, err := c.prepare(ctx, account, url, solver)
		if err != nil {
			return err
		}
		if next != nil {
			attempts = append(attempts, next)
			if err := solver.present(ctx, next.challenge); err != nil {
				return explain("prepare to validate "+next.name, err)
			}
		}
	}
	for _, a := range attempts {
		c.Report(Event{State: Validating, Name: a.name, Method: solver.method()})
		if a.challenge, err = c.acme.InitiateChallenge(ctx, account, a.challenge); err != nil {
			c.Report(Event{State: Invalid, Name: a.name, Method: solver.method()})
			return explain("begin to validate "+a.name, err)
		}
	}
	var failed []error
	for _, a := range attempts {
		if err := c.await(ctx, account, a, solver.method()); err != nil {
			failed = append(failed, explain("validate "+a.name+" by "+solver.method(), err))
		}
	}
	return errors.Join(failed...)
}

// prepare reads an authorization and picks the solver's challenge; nil when the
// name needs none any more.
func (c *Client) prepare(ctx context.Context, account acme.Account, url string, solver solver) (*attempt, error) {
	authorization, err := c.acme.GetAuthorization(ctx, account, url)
	if err != nil {
		return nil, explain("read an authorization", err)
	}
	name := authorization.IdentifierValue()
	switch authorization.Status {
	case acme.StatusPending:
	case acme.StatusValid:
		c.Report(Event{State: Valid, Name: name})
		return nil, nil
	default:
		return nil, fmt.Errorf("couldn't validate %s: its authorization is %s", name, authorization.Status)
	}
	var offered []string
	for _, challenge := range authorization.Challenges {
		if challenge.Type == solver.method() {
			return &attempt{name, authorization, challenge}, nil
		}
		offered = append(offered, challenge.Type)
	}
	return nil, &Error{op: "validate " + name + " by " + solver.method(),
		err:  fmt.Errorf("the server offers %s", strings.Join(offered, ", ")),
		hint: "choose the method with --http, --tls or --dns-exec"}
}

// await polls until the outcome is known.
func (c *Client) await(ctx context.Context, account acme.Account, a *attempt, method string) error {
	state := Valid
	authorization := a.authorization
	var err error
	if a.challenge.Status == acme.StatusValid || a.challenge.Status == acme.StatusInvalid {
		authorization, err = c.acme.GetAuthorization(ctx, account, a.authorization.Location)
	}
	if err == nil {
		_, err = c.acme.PollAuthorization(ctx, account, authorization)
	}
	if err != nil {
		state = Invalid
	}
	c.Report(Event{State: state, Name: a.name, Method: method})
	return err
}

// cleanUpTime is how long taking down what was put up may take, also after an
// interruption.
const cleanUpTime = 30 * time.Second

func (c *Client) cleanUp(ctx context.Context, attempts []*attempt, solver solver) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
	defer cancel()
	for _, a := range attempts {
		if err := solver.cleanUp(ctx, a.challenge); err != nil {
			c.Report(Event{State: Warning, Name: a.name, Text: err.Error()})
		}
	}
	if err := solver.close(); err != nil {
		c.Report(Event{State: Warning, Text: err.Error()})
	}
}
