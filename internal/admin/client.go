package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Client calls the API. The zero value is of no use; see Dial and InProcess.
type Client struct {
	http  *http.Client
	close func() error // nil for none
}

// connectTime is how long a server on the same machine may take to accept.
const connectTime = 5 * time.Second

// Close releases what the client holds.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	if c.close == nil {
		return nil
	}
	return c.close()
}

// Dial returns a client of the server that listens on the Unix socket at path.
// It does not connect yet.
func Dial(path string) *Client {
	dialer := &net.Dialer{Timeout: connectTime}
	return &Client{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
			err = WithSocketPath(path, func(short string) (err error) {
				conn, err = dialer.DialContext(ctx, "unix", short)
				return err
			})
			return conn, err
		},
	}}}
}

// CertificateFilter selects certificates; the zero value selects all.
type CertificateFilter struct {
	Name, Account, Profile, Status string
	ExpiresBefore                  time.Time
}

// Certificates lists certificates, newest first, at most max of them if max is
// not 0.
func (c *Client) Certificates(ctx context.Context, filter CertificateFilter, max int) iter.Seq2[Certificate, error] {
	query := url.Values{}
	set(query, "name", filter.Name)
	set(query, "account", filter.Account)
	set(query, "profile", filter.Profile)
	set(query, "status", filter.Status)
	if !filter.ExpiresBefore.IsZero() {
		query.Set("expires_before", filter.ExpiresBefore.UTC().Format(time.RFC3339))
	}
	return pages[Certificate](ctx, c, "/v1/certificates", query, max)
}

// Certificate returns one certificate by serial or SHA-256 fingerprint, with
// its PEM.
func (c *Client) Certificate(ctx context.Context, serial string) (Certificate, error) {
	return call[Certificate](ctx, c, http.MethodGet, "/v1/certificates/"+url.PathEscape(serial), nil)
}

// RevokeCertificate revokes a certificate; ParseReason says what reasons there are.
func (c *Client) RevokeCertificate(ctx context.Context, serial, reason string) (Certificate, error) {
	return call[Certificate](ctx, c, http.MethodPost, "/v1/certificates/"+url.PathEscape(serial)+"/revoke", revocation{reason})
}

// Orders lists orders, newest first; account "" means everybody's.
func (c *Client) Orders(ctx context.Context, account string, max int) iter.Seq2[Order, error] {
	query := url.Values{}
	set(query, "account", account)
	return pages[Order](ctx, c, "/v1/orders", query, max)
}

// Order returns one order with its authorizations and their transcripts.
func (c *Client) Order(ctx context.Context, id string) (Order, error) {
	return call[Order](ctx, c, http.MethodGet, "/v1/orders/"+url.PathEscape(id), nil)
}

// Accounts lists accounts, newest first; eab "" means all, a key identifier
// those that were made with it.
func (c *Client) Accounts(ctx context.Context, eab string, max int) iter.Seq2[Account, error] {
	query := url.Values{}
	set(query, "eab", eab)
	return pages[Account](ctx, c, "/v1/accounts", query, max)
}

// Account returns one account.
func (c *Client) Account(ctx context.Context, id string) (Account, error) {
	return call[Account](ctx, c, http.MethodGet, "/v1/accounts/"+url.PathEscape(id), nil)
}

// DeactivateAccount closes an account for good.
func (c *Client) DeactivateAccount(ctx context.Context, id string) (Account, error) {
	return call[Account](ctx, c, http.MethodPost, "/v1/accounts/"+url.PathEscape(id)+"/deactivate", nil)
}

// Bindings lists the keys for external account binding, newest first.
func (c *Client) Bindings(ctx context.Context) iter.Seq2[Binding, error] {
	return pages[Binding](ctx, c, "/v1/eab", url.Values{}, 0)
}

// CreateBinding makes a key. Its HMAC is in this answer and in no other.
func (c *Client) CreateBinding(ctx context.Context, wish NewBinding) (Binding, error) {
	return call[Binding](ctx, c, http.MethodPost, "/v1/eab", wish)
}

// Binding returns one key, without its HMAC.
func (c *Client) Binding(ctx context.Context, kid string) (Binding, error) {
	return call[Binding](ctx, c, http.MethodGet, "/v1/eab/"+url.PathEscape(kid), nil)
}

// UpdateBinding changes a key and what it grants, at once for all its accounts.
func (c *Client) UpdateBinding(ctx context.Context, kid string, change BindingChange) (Binding, error) {
	return call[Binding](ctx, c, http.MethodPatch, "/v1/eab/"+url.PathEscape(kid), change)
}

// TestPolicy asks whether names would be issued, and by which rule.
func (c *Client) TestPolicy(ctx context.Context, question PolicyQuestion) (PolicyAnswer, error) {
	return call[PolicyAnswer](ctx, c, http.MethodPost, "/v1/policy/test", question)
}

// Limits lists the limits in force; with an account, how much of them its
// orders use.
func (c *Client) Limits(ctx context.Context, account string) (Limits, error) {
	query := url.Values{}
	set(query, "account", account)
	return call[Limits](ctx, c, http.MethodGet, "/v1/limits?"+query.Encode(), nil)
}

// RevokeBinding ends a key's use for new accounts, and what it grants.
func (c *Client) RevokeBinding(ctx context.Context, kid string) (Binding, error) {
	return call[Binding](ctx, c, http.MethodPost, "/v1/eab/"+url.PathEscape(kid)+"/revoke", nil)
}

// Status says how the server does.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, "/v1/status", nil)
}

// Reload has the server read its configuration again.
func (c *Client) Reload(ctx context.Context) (Reloaded, error) {
	return call[Reloaded](ctx, c, http.MethodPost, "/v1/reload", nil)
}

// Backup writes a backup of the CA, as package archive reads it, to w and
// returns its size in octets. It holds the keys.
func (c *Client) Backup(ctx context.Context, w io.Writer) (int64, error) {
	answer, err := c.do(ctx, http.MethodGet, "/v1/backup", nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	return io.Copy(w, answer.Body) // net/http reports a body that ends too early
}

func set(query url.Values, key, value string) {
	if value != "" {
		query.Set(key, value)
	}
}

// do sends a request; an answer that is not success comes back as an *Error.
func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return nil, fmt.Errorf("couldn't encode request: %w", err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://chancery"+path, &content)
	if err != nil {
		return nil, fmt.Errorf("couldn't make request: %w", err)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("couldn't reach the server: %w", err)
	}
	if answer.StatusCode < 300 {
		return answer, nil
	}
	defer func() { _ = answer.Body.Close() }()
	failed := &Error{Status: answer.StatusCode}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxBody)).Decode(failed); err != nil || failed.Text == "" {
		failed.Text = fmt.Sprintf("the server answered %s to %s %s", answer.Status, method, path)
	}
	return nil, failed
}

func call[T any](ctx context.Context, c *Client, method, path string, body any) (result T, err error) {
	answer, err := c.do(ctx, method, path, body)
	if err != nil {
		return result, err
	}
	defer func() { _ = answer.Body.Close() }()
	if err := json.NewDecoder(answer.Body).Decode(&result); err != nil {
		return result, fmt.Errorf("couldn't read the server's answer: %w", err)
	}
	return result, nil
}

// pages walks a listing page by page. The error, if any, comes last.
func pages[T any](ctx context.Context, c *Client, path string, query url.Values, max int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for seen := 0; ; {
			if max > 0 {
				query.Set("limit", strconv.Itoa(min(max-seen, maxPage)))
			}
			list, err := call[page[T]](ctx, c, http.MethodGet, path+"?"+query.Encode(), nil)
			if err != nil {
				yield(none, err)
				return
			}
			for _, item := range list.Items {
				seen++
				if !yield(item, nil) {
					return
				}
			}
			if list.Next == "" || max > 0 && seen >= max {
				return
			}
			query.Set("after", list.Next)
		}
	}
}
