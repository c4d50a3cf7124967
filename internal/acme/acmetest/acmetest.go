// Package acmetest is an ACME client for tests and benchmarks. It does what it
// is told, right or wrong, over real sockets, and hides nothing of the answer;
// the steps of a whole issuance are there too. It is no client for users.
package acmetest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
)

// Directory holds the URLs of a CA's resources.
type Directory struct {
	NewNonce    string         `json:"newNonce"`
	NewAccount  string         `json:"newAccount"`
	NewOrder    string         `json:"newOrder"`
	NewAuthz    string         `json:"newAuthz"`
	RevokeCert  string         `json:"revokeCert"`
	KeyChange   string         `json:"keyChange"`
	RenewalInfo string         `json:"renewalInfo"`
	Meta        map[string]any `json:"meta"`
}

// Client sends requests as one account. Its methods may be called by several
// goroutines once it is registered.
type Client struct {
	HTTP       *http.Client
	Directory  Directory
	Key        crypto.Signer
	AccountURL string // set by Register

	mu     sync.Mutex
	nonces []string // guarded by mu
}

// NewClient makes a client with a fresh P-256 key for the CA of that directory.
func NewClient(ctx context.Context, httpClient *http.Client, directoryURL string) (*Client, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	c := &Client{HTTP: httpClient, Key: key}
	resp, err := c.Get(ctx, directoryURL)
	if err != nil {
		return nil, err
	}
	return c, resp.Decode(&c.Directory)
}

// Response is an answer, read to its end.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Location is the URL of what the answer is about.
func (r *Response) Location() string { return r.Header.Get("Location") }

// Decode reads a JSON body.
func (r *Response) Decode(into any) error {
	if err := json.Unmarshal(r.Body, into); err != nil {
		return fmt.Errorf("couldn't read answer of status %d, %q: %w", r.Status, r.Body, err)
	}
	return nil
}

// Problem is the error an answer carries; nil when it succeeded.
func (r *Response) Problem() *Problem {
	if r.Status < 400 {
		return nil
	}
	problem := &Problem{Status: r.Status}
	if err := r.Decode(problem); err != nil {
		problem.Detail = err.Error()
	}
	return problem
}

// Problem is a problem document as a client sees it (RFC 8555 §6.7).
type Problem struct {
	Type        string    `json:"type"`
	Status      int       `json:"status"`
	Detail      string    `json:"detail"`
	Subproblems []Problem `json:"subproblems"`
	Identifier  *Name     `json:"identifier"`
}

func (p *Problem) Error() string { return fmt.Sprintf("%d %s: %s", p.Status, p.Type, p.Detail) }

// Name is an ACME identifier.
type Name struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// DNS makes identifiers of DNS names.
func DNS(values ...string) []Name { return names("dns", values) }

// IP makes identifiers of addresses.
func IP(values ...string) []Name { return names("ip", values) }

func names(kind string, values []string) (made []Name) {
	for _, value := range values {
		made = append(made, Name{kind, value})
	}
	return made
}

// Get sends a GET request.
func (c *Client) Get(ctx context.Context, url string) (*Response, error) {
	return c.Do(ctx, http.MethodGet, url, "", nil)
}

// Do sends a request as it is, and keeps the nonce of the answer.
func (c *Client) Do(ctx context.Context, method, url, contentType string, body []byte) (*Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return c.Send(req)
}

// Send sends any HTTP request, and keeps the nonce of the answer.
func (c *Client) Send(req *http.Request) (*Response, error) {
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	if nonce := resp.Header.Get("Replay-Nonce"); nonce != "" {
		c.mu.Lock()
		c.nonces = append(c.nonces, nonce)
		c.mu.Unlock()
	}
	return &Response{resp.StatusCode, resp.Header, read}, err
}

// Nonce returns a fresh nonce: one kept from an answer, or a new one.
func (c *Client) Nonce(ctx context.Context) (string, error) {
	for range 2 {
		c.mu.Lock()
		if n := len(c.nonces); n > 0 {
			nonce := c.nonces[n-1]
			c.nonces = c.nonces[:n-1]
			c.mu.Unlock()
			return nonce, nil
		}
		c.mu.Unlock()
		if _, err := c.Do(ctx, http.MethodHead, c.Directory.NewNonce, "", nil); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("couldn't get a nonce from %s", c.Directory.NewNonce)
}

// ForgetNonces drops the nonces kept from answers, as after the CA's restart.
func (c *Client) ForgetNonces() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nonces = nil
}

// KeyAuthorization answers a token (RFC 8555 §8.1).
func (c *Client) KeyAuthorization(token string) string {
	return token + "." + Thumbprint(c.Key.Public())
}

// Header is the protected header of a good request to url.
func (c *Client) Header(ctx context.Context, url string) (map[string]any, error) {
	nonce, err := c.Nonce(ctx)
	header := map[string]any{"alg": Algorithm(c.Key.Public()), "nonce": nonce, "url": url}
	if c.AccountURL != "" {
		header["kid"] = c.AccountURL
	} else {
		header["jwk"] = JWK(c.Key.Public())
	}
	return header, err
}

// PostRaw signs a payload as it is and posts it. Members of change replace
// those of the good header, or remove them when nil.
func (c *Client) PostRaw(ctx context.Context, url string, payload []byte, change map[string]any) (*Response, error) {
	header, err := c.Header(ctx, url)
	if err != nil {
		return nil, err
	}
	maps.Copy(header, change)
	maps.DeleteFunc(header, func(_ string, value any) bool { return value == nil })
	return c.Do(ctx, http.MethodPost, url, "application/jose+json", Sign(c.Key, header, payload))
}

// Post posts a payload as JSON; nil is POST-as-GET. An answer that is an error
// comes back as *Problem, beside the response.
func (c *Client) Post(ctx context.Context, url string, payload any) (*Response, error) {
	var body []byte
	if payload != nil {
		var err error
		if body, err = json.Marshal(payload); err != nil {
			return nil, err
		}
	}
	resp, err := c.PostRaw(ctx, url, body, nil)
	if err != nil {
		return nil, err
	}
	if problem := resp.Problem(); problem != nil {
		return resp, problem
	}
	return resp, nil
}
