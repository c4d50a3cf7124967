package cloudkms

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"chancery/internal/keyhelper/wire"
)

// The bounds of talking to a service.
const (
	maxAnswer   = 64 << 10 // octets
	maxAttempts = 3        // of one call
	firstPause  = 100 * time.Millisecond
	dialTimeout = 2 * time.Second
	maxMessage  = 400 // octets of a service's message that are passed on
)

// NewClient returns a client that follows no redirects: they would carry
// credentials along. Proxies are those of the environment; direct is for what
// is on the machine or beside it, and uses none.
func NewClient(direct bool) *http.Client {
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		IdleConnTimeout:     time.Minute,
		MaxIdleConnsPerHost: 16,
		ForceAttemptHTTP2:   true,
	}
	if direct {
		transport.Proxy = nil
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Answer is what a service answered.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Exchange sends one request and reads the answer, whatever its status. Its
// error means that there was none.
func Exchange(client *http.Client, request *http.Request) (answer Answer, err error) {
	response, err := client.Do(request) //nolint:gosec // to where the operator says, or the cloud is
	if err != nil {
		return answer, wire.Errorf(wire.Unavailable, "couldn't reach %s: %v", request.URL.Host, rootCause(err))
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return answer, wire.Errorf(wire.Unavailable, "couldn't read the answer of %s: %v", request.URL.Host, rootCause(err))
	}
	if len(body) > maxAnswer {
		return answer, wire.Errorf(wire.Unavailable, "the answer of %s is longer than %d octets", request.URL.Host, maxAnswer)
	}
	return Answer{response.StatusCode, response.Header, body}, nil
}

// rootCause is the error without the URL, which was said already and may hold
// more than is to be shown.
func rootCause(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// Code says whether what a service answered with a status may pass by itself.
func Code(status int) string {
	if status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout {
		return wire.Unavailable
	}
	return wire.Refused
}

// Say makes a service's message fit to be passed on.
func Say(message string) string {
	if len(message) > maxMessage {
		message = message[:maxMessage] + "…"
	}
	return strings.Join(strings.Fields(strings.ToValidUTF8(message, "?")), " ")
}

// Explain puts words before an error of this package and keeps its code.
func Explain(words string, err error) error {
	told, ok := errors.AsType[*wire.Error](err)
	if !ok {
		return fmt.Errorf("%s: %w", words, err)
	}
	return wire.Errorf(told.Code, "%s: %s", words, told.Message)
}

// staleError is an error that new credentials may mend.
type staleError struct{ told *wire.Error }

func (e staleError) Error() string { return e.told.Message }
func (e staleError) Unwrap() error { return e.told }

// Stale marks an error as one that new credentials may mend: Call tries again
// with them, once.
func Stale(told *wire.Error) error { return staleError{told} }

// Request is what Call asks of a service.
type Request struct {
	Method, URL string
	Header      http.Header
	Body        []byte
	Accept      func(Answer) error // reads the answer; its error is the call's
}

// Caller calls a service with credentials that may end.
type Caller[C comparable] struct {
	Client      *http.Client
	Credentials *Cache[C]
	Authorize   func(request *http.Request, body []byte, credentials C)
}

// Call asks, and asks again a few times while the error is passing and ctx
// allows.
func (c *Caller[C]) Call(ctx context.Context, r Request) error {
	renewed := false
	for attempt := 1; ; attempt++ {
		credentials, err := c.Credentials.Get(ctx)
		if err != nil {
			return err
		}
		err = c.try(ctx, r, credentials)
		if err == nil {
			return nil
		}
		if _, stale := errors.AsType[staleError](err); stale && !renewed {
			c.Credentials.Drop(credentials)
			renewed = true
			continue
		}
		told, isTold := errors.AsType[*wire.Error](err)
		if !isTold || told.Code != wire.Unavailable || attempt == maxAttempts || !pause(ctx, firstPause<<(2*attempt-2)) {
			return err
		}
	}
}

func (c *Caller[C]) try(ctx context.Context, r Request, credentials C) error {
	request, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return fmt.Errorf("couldn't make the request: %w", err)
	}
	for name, values := range r.Header {
		request.Header[name] = values
	}
	c.Authorize(request, r.Body, credentials)
	answer, err := Exchange(c.Client, request)
	if err != nil {
		return err
	}
	return r.Accept(answer)
}

// pause waits, and reports whether ctx has not ended meanwhile.
func pause(ctx context.Context, length time.Duration) bool {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
