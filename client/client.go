// Package client gets certificates from a Chancery server with signed tokens,
// and keeps them renewed, so that a program can do mutual TLS:
//
//	ca := &client.Client{Server: "https://ca.corp.example:9443", Roots: roots}
//	keeper, err := client.Keep(ctx, client.Options{Client: ca, Token: token})
//	...
//	defer keeper.Close()
//	server := &http.Server{Addr: ":8443", Handler: handler, TLSConfig: keeper.ServerConfig()}
//	err = server.ListenAndServeTLS("", "")
//
// It promises that a kept certificate is replaced in the window that the server
// suggests (RFC 9773) without a connection being refused, that a server is
// talked to over TLS 1.2 or later only and must chain to the given roots, and
// that whatever it answers takes bounded memory and time. It does not speak
// ACME, and it does not restart other programs.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"chancery/internal/renewal"
)

// Client asks one server. It can be used by several goroutines at a time, and
// its fields must not be changed once it has been.
type Client struct {
	Server    string         // https://HOST[:PORT], with a path only if the server is below one
	Roots     *x509.CertPool // what its certificate must chain to; nil for the system's roots
	UserAgent string         // "" for Go's own
	Timeout   time.Duration  // of one request; 0 for 30 seconds

	once sync.Once // guards what follows
	http *http.Client
}

const (
	defaultTimeout = 30 * time.Second
	maxAnswer      = 1 << 20 // octets
	maxWait        = time.Minute
	attempts       = 5 // of a request that the server cannot answer now
)

// transport makes connections to the server, with a certificate when it is not
// nil.
func (c *Client) transport(certificate *tls.Certificate) *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12}
	if certificate != nil {
		// Whatever CAs the server says it accepts: it is to say what is wrong.
		transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return certificate, nil
		}
		transport.DisableKeepAlives = true
	}
	return transport
}

func (c *Client) httpClient(transport http.RoundTripper) *http.Client {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	return &http.Client{
		Transport: transport, Timeout: timeout,
		// A token is for this server only.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (c *Client) shared() *http.Client {
	c.once.Do(func() { c.http = c.httpClient(c.transport(nil)) })
	return c.http
}

// CloseIdleConnections closes the connections that are kept for further requests.
func (c *Client) CloseIdleConnections() { c.shared().CloseIdleConnections() }

// base is the server's URL in the one form that tokens name it by: the host in
// lower case, without the usual port and a final slash.
func (c *Client) base() (string, error) {
	u, err := url.Parse(c.Server)
	switch {
	case err != nil:
		return "", fmt.Errorf("the server is no URL: %w", err)
	case u.Scheme != "https" || u.Host == "":
		return "", fmt.Errorf("the server is %q; write https://HOST:PORT", c.Server)
	case u.User != nil:
		return "", errors.New("the server's URL has a user; write https://HOST:PORT")
	}
	u.Host = strings.TrimSuffix(strings.ToLower(u.Host), ":443")
	u.RawQuery, u.Fragment = "", ""
	return strings.TrimSuffix(u.String(), "/"), nil
}

// call is one request to the server.
type call struct {
	op           string // as in "couldn't OP"
	method, path string // below the server's URL
	body         any    // nil for none
	certificate  *tls.Certificate
}

// do sends a request, again while the server says that it cannot answer now, and
// decodes the answer into result, unless that is nil. It returns the header.
func (c *Client) do(ctx context.Context, r call, result any) (http.Header, error) {
	client := c.shared()
	if r.certificate != nil {
		client = c.httpClient(c.transport(r.certificate))
	}
	for attempt := 1; ; attempt++ {
		header, err := c.send(ctx, client, r, result)
		if err == nil {
			return header, nil
		}
		wait := retryAfter(err)
		if wait == 0 || wait > maxWait || attempt == attempts || !sleep(ctx, wait) {
			return nil, &Error{Op: r.op, Err: err}
		}
	}
}

// sleep waits; false when ctx ends before, or would end before that.
func sleep(ctx context.Context, length time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < length {
		return false
	}
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// send sends a request once.
func (c *Client) send(ctx context.Context, client *http.Client, r call, result any) (http.Header, error) {
	base, err := c.base()
	if err != nil {
		return nil, err
	}
	var body io.Reader
	if r.body != nil {
		content, err := json.Marshal(r.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(content)
	}
	request, err := http.NewRequestWithContext(ctx, r.method, base+r.path, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json, application/problem+json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.UserAgent != "" {
		request.Header.Set("User-Agent", c.UserAgent)
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("couldn't read the server's answer: %w", err)
	case len(content) > maxAnswer:
		return nil, fmt.Errorf("the server's answer is larger than %d octets", maxAnswer)
	case answer.StatusCode >= 300:
		return nil, parseProblem(answer, content)
	}
	return answer.Header, decode(content, result)
}

func decode(content []byte, result any) error {
	if result == nil {
		return nil
	}
	if raw, ok := result.(*[]byte); ok {
		*raw = content
		return nil
	}
	if err := json.Unmarshal(content, result); err != nil {
		return fmt.Errorf("couldn't read the server's answer: %w", err)
	}
	return nil
}

// retryAfter is how long to wait before the same request is sent again; 0 when
// that is of no use.
func retryAfter(err error) time.Duration {
	problem, ok := errors.AsType[*Problem](err)
	if !ok || problem.Status != http.StatusServiceUnavailable {
		return 0
	}
	return max(problem.retryAfter, time.Second)
}

func parseProblem(answer *http.Response, content []byte) *Problem {
	problem := &Problem{}
	isProblem := strings.HasPrefix(answer.Header.Get("Content-Type"), "application/problem+json")
	if !isProblem || json.Unmarshal(content, problem) != nil {
		problem = &Problem{Detail: fmt.Sprintf("the server answered %d %s to %s",
			answer.StatusCode, http.StatusText(answer.StatusCode), answer.Request.URL.Path)}
	}
	problem.Status = answer.StatusCode
	problem.retryAfter = renewal.RetryAfter(answer.Header, time.Now())
	return problem
}
