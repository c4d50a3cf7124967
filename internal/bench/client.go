package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// client is one of those who work at once. Everything in it but load is its
// goroutine's own.
type client struct {
	*load
	http     *http.Client
	csrs     *requester
	accounts []*account // it works for them by turns
	turn     int
	nonces   []string
	usual    time.Duration // how long it last waited for an outcome
}

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 1 << 20

// answer is an answer, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// decode reads a JSON body.
func (a *answer) decode(into any) error {
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("couldn't read the answer: %w: %w", errAnswer, err)
	}
	return nil
}

// problem is why the answer is no success; nil when it is one.
func (a *answer) problem(now time.Time) *problem {
	if a.status < 400 {
		return nil
	}
	p := &problem{}
	if json.Unmarshal(a.body, p) != nil {
		p = &problem{}
	}
	p.status, p.retryAfter = a.status, retryAfter(a.header.Get("Retry-After"), now)
	return p
}

// retryAfter reads seconds or a date (RFC 9110 §10.2.3); 0 for neither.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(text); err == nil {
		return max(date.Sub(now), 0)
	}
	return 0
}

// send sends a request and keeps the nonce of the answer.
func (c *client) send(ctx context.Context, method, url string, body []byte) (*answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", c.UserAgent)
	if body != nil {
		request.Header.Set("Content-Type", "application/jose+json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	read, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if nonce := response.Header.Get("Replay-Nonce"); nonce != "" {
		c.nonces = append(c.nonces, nonce)
	}
	return &answer{response.StatusCode, response.Header, read}, err
}

// nonce takes one that an answer brought, or asks for one.
func (c *client) nonce(ctx context.Context) (string, error) {
	if len(c.nonces) == 0 {
		got, err := c.send(ctx, http.MethodHead, c.directory.NewNonce, nil)
		if err != nil {
			return "", err
		}
		if p := got.problem(c.Now()); p != nil {
			return "", p
		}
		if len(c.nonces) == 0 {
			return "", fmt.Errorf("no nonce in an answer of newNonce: %w", errAnswer)
		}
	}
	last := len(c.nonces) - 1
	nonce := c.nonces[last]
	c.nonces = c.nonces[:last]
	return nonce, nil
}

// maxAttempts is how often one request is sent.
const maxAttempts = 20

// post signs a payload and sends it; nil is POST-as-GET. What the server asks
// to be sent again is sent again, when the deadline of ctx allows.
func (c *client) post(ctx context.Context, by *account, url string, payload any) (*answer, error) {
	var content []byte
	if payload != nil {
		var err error
		if content, err = json.Marshal(payload); err != nil {
			return nil, err
		}
	}
	for attempt := 1; ; attempt++ {
		got, err := c.postOnce(ctx, by, url, content)
		if err != nil {
			return nil, err
		}
		p := got.problem(c.Now())
		if p == nil {
			return got, nil
		}
		wait, again := p.again()
		if deadline, limited := ctx.Deadline(); !again || attempt == maxAttempts || limited && c.Now().Add(wait).After(deadline) {
			return nil, p
		}
		c.meter.retry()
		if err := pause(ctx, wait); err != nil {
			return nil, err
		}
	}
}

func (c *client) postOnce(ctx context.Context, by *account, url string, content []byte) (*answer, error) {
	nonce, err := c.nonce(ctx)
	if err != nil {
		return nil, err
	}
	body, err := by.sign(url, nonce, content)
	if err != nil {
		return nil, err
	}
	return c.send(ctx, http.MethodPost, url, body)
}

// again says whether the same request may succeed later, and when: a nonce was
// refused (RFC 8555 §6.5), or the server has named a time.
func (p *problem) again() (wait time.Duration, again bool) {
	if p.kind() == "badNonce" {
		return 0, true
	}
	busy := p.status == http.StatusTooManyRequests || p.status == http.StatusServiceUnavailable
	return p.retryAfter, busy && p.retryAfter > 0
}

// pause waits; it returns early with ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
