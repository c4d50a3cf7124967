package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"chancery/internal/cluster"
	"chancery/internal/inventory"
)

// Client calls the API. The zero value is of no use; see Dial and InProcess.
type Client struct {
	http  *http.Client
	base  string       // scheme, host and port
	token string       // "" for none
	close func() error // nil for none
}

// localBase is where a server is that was found without its name.
const localBase = "http://chancery"

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
	return &Client{base: localBase, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
			err = WithSocketPath(path, func(short string) (err error) {
				conn, err = dialer.DialContext(ctx, "unix", short)
				return err
			})
			return conn, err
		},
	}}}
}

// Server is a server elsewhere, and how to say who calls: by a token, or by a
// certificate whose name the server knows.
type Server struct {
	URL         string         // https://HOST:PORT
	Roots       *x509.CertPool // that its certificate must chain to; nil for those of the system
	Token       string
	Certificate *tls.Certificate
}

// Reach returns a client of a server elsewhere. It does not connect yet. It
// follows no redirects and uses no proxy, so that the token goes nowhere else.
func Reach(server Server) *Client {
	settings := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: server.Roots}
	if server.Certificate != nil {
		settings.Certificates = []tls.Certificate{*server.Certificate}
	}
	dialer := &net.Dialer{Timeout: 2 * connectTime}
	return &Client{
		base: strings.TrimSuffix(server.URL, "/"), token: server.Token,
		http: &http.Client{
			Transport:     &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: settings, TLSHandshakeTimeout: 2 * connectTime},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Certificates lists certificates, newest first, at most max of them if max is
// not 0.
func (c *Client) Certificates(ctx context.Context, query inventory.Query, max int) iter.Seq2[Certificate, error] {
	return pages[Certificate](ctx, c, "/certificates", query.Values(), max)
}

// CountCertificates counts what a query selects.
func (c *Client) CountCertificates(ctx context.Context, query inventory.Query) (CertificateCounts, error) {
	return call[CertificateCounts](ctx, c, http.MethodGet, "/certificates/count?"+query.Values().Encode(), nil)
}

// Certificate returns one certificate by serial or SHA-256 fingerprint, with
// its PEM.
func (c *Client) Certificate(ctx context.Context, serial string) (Certificate, error) {
	return call[Certificate](ctx, c, http.MethodGet, "/certificates/"+url.PathEscape(serial), nil)
}

// RevokeCertificate revokes a certificate; ParseReason says what reasons there are.
func (c *Client) RevokeCertificate(ctx context.Context, serial, reason string) (Certificate, error) {
	return call[Certificate](ctx, c, http.MethodPost, "/certificates/"+url.PathEscape(serial)+"/revoke", revocation{reason})
}

// Orders lists orders, newest first.
func (c *Client) Orders(ctx context.Context, query OrderQuery, max int) iter.Seq2[Order, error] {
	values := url.Values{}
	set(values, "account", query.Account)
	set(values, "status", query.Status)
	set(values, "name", query.Name)
	set(values, "profile", query.Profile)
	return pages[Order](ctx, c, "/orders", values, max)
}

// Order returns one order with its authorizations and their transcripts.
func (c *Client) Order(ctx context.Context, id string) (Order, error) {
	return call[Order](ctx, c, http.MethodGet, "/orders/"+url.PathEscape(id), nil)
}

// Accounts lists accounts, newest first.
func (c *Client) Accounts(ctx context.Context, query AccountQuery, max int) iter.Seq2[Account, error] {
	values := url.Values{}
	set(values, "eab", query.EAB)
	set(values, "status", query.Status)
	set(values, "contact", query.Contact)
	return pages[Account](ctx, c, "/accounts", values, max)
}

// Account returns one account.
func (c *Client) Account(ctx context.Context, id string) (Account, error) {
	return call[Account](ctx, c, http.MethodGet, "/accounts/"+url.PathEscape(id), nil)
}

// DeactivateAccount closes an account for good.
func (c *Client) DeactivateAccount(ctx context.Context, id string) (Account, error) {
	return call[Account](ctx, c, http.MethodPost, "/accounts/"+url.PathEscape(id)+"/deactivate", nil)
}

// Bindings lists the keys for external account binding, newest first.
func (c *Client) Bindings(ctx context.Context, query BindingQuery) iter.Seq2[Binding, error] {
	values := url.Values{}
	set(values, "status", query.Status)
	set(values, "name", query.Name)
	return pages[Binding](ctx, c, "/eab", values, 0)
}

// CreateBinding makes a key. Its HMAC is in this answer and in no other.
func (c *Client) CreateBinding(ctx context.Context, wish NewBinding) (Binding, error) {
	return call[Binding](ctx, c, http.MethodPost, "/eab", wish)
}

// Binding returns one key, without its HMAC.
func (c *Client) Binding(ctx context.Context, kid string) (Binding, error) {
	return call[Binding](ctx, c, http.MethodGet, "/eab/"+url.PathEscape(kid), nil)
}

// UpdateBinding changes a key and what it grants, at once for all its accounts.
func (c *Client) UpdateBinding(ctx context.Context, kid string, change BindingChange) (Binding, error) {
	return call[Binding](ctx, c, http.MethodPatch, "/eab/"+url.PathEscape(kid), change)
}

// TestPolicy asks whether names would be issued, and by which rule.
func (c *Client) TestPolicy(ctx context.Context, question PolicyQuestion) (PolicyAnswer, error) {
	return call[PolicyAnswer](ctx, c, http.MethodPost, "/policy/test", question)
}

// Limits lists the limits in force; with an account, how much of them its
// orders use.
func (c *Client) Limits(ctx context.Context, account string) (Limits, error) {
	query := url.Values{}
	set(query, "account", account)
	return call[Limits](ctx, c, http.MethodGet, "/limits?"+query.Encode(), nil)
}

// RevokeBinding ends a key's use for new accounts, and what it grants.
func (c *Client) RevokeBinding(ctx context.Context, kid string) (Binding, error) {
	return call[Binding](ctx, c, http.MethodPost, "/eab/"+url.PathEscape(kid)+"/revoke", nil)
}

// Status says how the server does.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, "/status", nil)
}

// Cluster asks about the nodes that share the database.
func (c *Client) Cluster(ctx context.Context) (cluster.Status, error) {
	return call[cluster.Status](ctx, c, http.MethodGet, "/cluster", nil)
}

// Reload has the server read its configuration again.
func (c *Client) Reload(ctx context.Context) (Reloaded, error) {
	return call[Reloaded](ctx, c, http.MethodPost, "/reload", nil)
}

// Backup writes a backup of the CA, as package archive reads it, to w and
// returns its size in octets. It holds the keys, and the state unless that is
// external: in a database elsewhere.
func (c *Client) Backup(ctx context.Context, w io.Writer) (size int64, external bool, err error) {
	answer, err := c.do(ctx, http.MethodGet, "/backup", nil)
	if err != nil {
		return 0, false, err
	}
	defer func() { _ = answer.Body.Close() }()
	size, err = io.Copy(w, answer.Body) // net/http reports a body that ends too early
	return size, answer.Header.Get(withoutDatabase) != "", err
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
	request, err := http.NewRequestWithContext(ctx, method, c.base+Prefix+path, &content)
	if err != nil {
		return nil, fmt.Errorf("couldn't make request: %w", err)
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
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

const fewMore = 100

// pages walks a listing page by page. The error, if any, comes last.
func pages[T any](ctx context.Context, c *Client, path string, query url.Values, max int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for seen := 0; ; {
			if max > 0 { // a few more where not all that is looked at is selected
				query.Set("limit", strconv.Itoa(min(max-seen+fewMore, maxPage)))
			}
			list, err := call[page[T]](ctx, c, http.MethodGet, path+"?"+query.Encode(), nil)
			if err != nil {
				yield(none, err)
				return
			}
			for _, item := range list.Items {
				seen++
				if !yield(item, nil) || seen == max {
					return
				}
			}
			if list.Next == "" {
				return
			}
			query.Set("after", list.Next)
		}
	}
}
