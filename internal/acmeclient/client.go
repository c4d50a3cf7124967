// Package acmeclient gets, renews and revokes certificates over ACME (RFC
// 8555) from any server, or with tokens from one of ours, and keeps them in
// files. It promises that a renewal never leaves a key beside another key's
// certificate, not even after a crash once the next command on that directory
// has begun, and that whatever it put up to prove control of a name is taken
// down again, also when it is interrupted. Who uses a certificate learns of a
// renewal by the command that was given for it.
package acmeclient

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"chancery/client"
)

// Config is what a Client is made of.
type Config struct {
	Server      string    // the URL of an ACME directory, or https://HOST[:PORT] of a server that has it at /acme/directory
	RootFile    string    // PEM certificates that the server's must chain to; "" for the system's
	Accounts    string    // the directory where account keys are kept, one below it for each server
	EAB         *acme.EAB // external account binding for a new account; may be nil
	AcceptTerms bool      // agree to the server's terms of service
	UserAgent   string
	Report      func(Event) // may be nil
	Rand        io.Reader
}

// The states of an Event.
const (
	Validating = "validating" // the server has been asked to validate Name by Method
	Valid      = "valid"      // Name is validated; Method is "" when it was before
	Invalid    = "invalid"    // the validation failed; the error says why
	Warning    = "warning"    // Text says what went wrong without stopping the work
)

// Event is a step of Obtain, for people who wait.
type Event struct {
	State, Name, Method, Text string
}

// Client talks to one ACME server.
type Client struct {
	Config
	acme *acme.Client
	http *http.Client
}

// requestTimeout is how long one request to the server may take.
const requestTimeout = 30 * time.Second

// pollInterval is how long to wait for an outcome when the server does not say.
const pollInterval = 100 * time.Millisecond

// New returns a client. It does not connect yet.
func New(c Config) (*Client, error) {
	directory, err := DirectoryURL(c.Server)
	if err != nil {
		return nil, err
	}
	roots, err := readRoots(c.RootFile)
	if err != nil {
		return nil, err
	}
	if c.Report == nil {
		c.Report = func(Event) {}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	client := &http.Client{Transport: transport, Timeout: requestTimeout}
	return &Client{c, &acme.Client{
		Directory: directory, HTTPClient: client, UserAgent: c.UserAgent, PollInterval: pollInterval,
	}, client}, nil
}

// Close gives back the connections to the server.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// DirectoryURL completes what a person gives as the server: a URL without a
// path gets that of Chancery's directory.
func DirectoryURL(server string) (string, error) {
	if !strings.Contains(server, "://") {
		server = "https://" + server
	}
	u, err := url.Parse(server)
	switch {
	case err != nil:
		return "", fmt.Errorf("the server is no URL: %w", err)
	case u.Scheme != "https":
		return "", fmt.Errorf("the server's URL begins with %s://; it needs https://", u.Scheme)
	case u.Host == "":
		return "", fmt.Errorf("the server's URL %q has no host", server)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/acme/directory"
	}
	return u.String(), nil
}

// readRoots reads trust anchors; nil stands for the system's.
func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	return client.RootsFromFile(path)
}

// directory returns the server's directory, which it reads once.
func (c *Client) directory(ctx context.Context) (acme.Directory, error) {
	directory, err := c.acme.GetDirectory(ctx)
	return directory, explain("read the directory of "+c.acme.Directory, err)
}

// Revoke revokes a certificate (RFC 8555 §7.6) for a reason of RFC 5280
// §5.3.1: with this server's account or, when there is none or the certificate
// is not the account's, with the certificate's key, if it is given.
func (c *Client) Revoke(ctx context.Context, certificate *x509.Certificate, key crypto.Signer, reason int) error {
	const op = "revoke the certificate"
	err := c.revokeAsAccount(ctx, certificate, reason)
	if !errors.Is(err, errNoAccount) && !isProblem(err, acme.ProblemTypeUnauthorized) {
		return explain(op, err)
	}
	if key == nil {
		return &Error{op: op, err: err, hint: "give the certificate's key with --key FILE, or have the CA's operator revoke it by its serial number"}
	}
	return explain(op, c.acme.RevokeCertificate(ctx, acme.Account{}, certificate, key, reason))
}

func (c *Client) revokeAsAccount(ctx context.Context, certificate *x509.Certificate, reason int) error {
	account, err := c.existingAccount(ctx)
	if err != nil {
		return err
	}
	return c.acme.RevokeCertificate(ctx, account, certificate, nil, reason)
}
