package token_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"chancery/internal/admin"
	"chancery/internal/ca"
	"chancery/internal/failure"
	"chancery/internal/keys"
	"chancery/internal/limits"
	"chancery/internal/profile"
	"chancery/internal/provisioner"
	"chancery/internal/server/servertest"
	"chancery/internal/store"
	"chancery/internal/token"
)

const signs, renews, revokes, renewal = "/api/v1/sign", "/api/v1/renew", "/api/v1/revoke", "/api/v1/renewal/{id}"

// TestDocumentOfErrors gives the door what it can't use, and has it fail by
// itself: every kind of error that the document has must come, and no other.
func TestDocumentOfErrors(t *testing.T) {
	t.Parallel()
	ci, old := newSigner(t), newSigner(t)
	ca := start(t, jwkSpec(t, "ci", ci, "")+", "+jwkSpec(t, "old", old, ""), "limits.certificates_per_set=2/1h", `policy.rules=[{name: no, deny: [no.corp]}]`)
	d := read(t, ca)
	d.refusesRequests(t, ca, ci)
	d.refusesRenewals(t, ca, ci, old)
	for _, err := range []error{errors.New("the disk is broken"), fmt.Errorf("%w: no connection", store.ErrUnavailable), failure.New(failure.Unavailable, "the signer is away")} {
		d.fails(t, err)
	}
	d.times(t)
	d.complete(t, func(path string) bool { return !strings.HasPrefix(path, admin.Prefix) })
}

// refusesRequests sends to the routes of a server what they can't use.
func (d *document) refusesRequests(t *testing.T, ca *servertest.CA, ci *signer) {
	leaf, key := get(t, ca, ci, "ci", "tls-mutual", "a.corp")
	csr := newCSR(t, key)
	tokenFor := func(names ...string) string { return ci.token(t, claimsFor(ca, "ci", names...)) }
	number := leaf.SerialNumber.Text(16)
	send := func(path string, body any) {
		t.Helper()
		d.promised(t, http.MethodPost, path, call(t, ca.HTTP, http.MethodPost, ca.BaseURL+path, body))
	}
	large := strings.Repeat(" ", 300<<10)
	used := token.SignRequest{Token: tokenFor("b.corp"), CSR: csr}
	for _, body := range []any{
		used, used, nil, "{", "[]", "{} {}", `{"unknown":1}`, large, `{"token":"` + large + `"}`,
		token.SignRequest{Token: tokenFor("no.corp"), CSR: csr}, token.SignRequest{Token: tokenFor("b.corp"), CSR: csr}, token.SignRequest{Token: tokenFor("b.corp"), CSR: csr},
		token.SignRequest{Token: tokenFor("c.corp"), CSR: "x"}, token.SignRequest{Token: tokenFor("c.corp")},
		token.SignRequest{Token: tokenFor("c.corp"), CSR: csr, Profile: "none"}, token.SignRequest{Token: "x", CSR: csr},
		token.SignRequest{Token: tokenFor("email:a@c.corp"), CSR: csr, Profile: "tls-server"},
		token.SignRequest{Token: newSigner(t).token(t, claimsFor(ca, "ci", "a.corp")), CSR: csr},
	} {
		send(signs, body)
	}
	for _, body := range []any{
		token.RevokeRequest{Serial: "1", Token: tokenFor("a.corp")}, token.RevokeRequest{Reason: "x"}, token.RevokeRequest{}, nil, large,
		token.RevokeRequest{Serial: number, Token: tokenFor("a.corp")}, token.RevokeRequest{Serial: number, Token: tokenFor("a.corp")},
	} {
		send(revokes, body)
	}
	for _, id := range []string{number, "1", "x", "AAAA.x"} {
		d.promised(t, http.MethodGet, renewal, call(t, ca.HTTP, http.MethodGet, ca.BaseURL+strings.Replace(renewal, "{id}", id, 1), nil))
	}
}

// refusesRenewals tries to renew what can't be, because of the request or of
// what has changed since.
func (d *document) refusesRenewals(t *testing.T, ca *servertest.CA, ci, old *signer) {
	leaf, key := get(t, ca, ci, "ci", "tls-mutual", "r.corp")
	csr, holder := newCSR(t, key), holding(t, ca, leaf, key)
	byOld, oldKey := get(t, ca, old, "old", "tls-mutual", "o.corp")
	renew := func(client *http.Client, body any) {
		t.Helper()
		d.promised(t, http.MethodPost, renews, call(t, client, http.MethodPost, ca.BaseURL+renews, body))
	}
	renew(ca.HTTP, token.RenewRequest{CSR: csr})
	good := token.RenewRequest{CSR: csr}
	for _, body := range []any{token.RenewRequest{CSR: "x"}, token.RenewRequest{}, strings.Repeat(" ", 300<<10), good, good, good} {
		renew(holder, body) // the last is one too many of the same names
	}
	ca.Reload("provisioners={"+jwkSpec(t, "ci", ci, "")+", "+jwkSpec(t, "old", old, ", profiles: [tls-server]")+"}",
		`policy.rules=[{name: no, deny: [r.corp]}]`, "limits.certificates_per_set=")
	renew(holder, token.RenewRequest{CSR: csr})
	renew(holding(t, ca, byOld, oldKey), token.RenewRequest{CSR: newCSR(t, oldKey)})
	ca.Reload("profiles.tls-mutual.san.types=uri", "policy.rules=[]")
	renew(holder, token.RenewRequest{CSR: csr})
}

// broken are the parts of a door that fail with one error.
type broken struct{ err error }

func (b broken) Issuers(context.Context) ([]store.Issuer, error) { return nil, b.err }
func (b broken) Certificate(context.Context, store.CertificateKey) (store.Certificate, error) {
	return store.Certificate{}, b.err
}
func (b broken) ListCertificates(context.Context, store.CertificateQuery) ([]store.Certificate, error) {
	return nil, b.err
}
func (b broken) ReplacedBy(context.Context, store.CertificateKey) (store.CertificateKey, error) {
	return store.CertificateKey{}, store.ErrNotFound
}
func (b broken) Revoke(context.Context, store.CertificateKey, store.Revocation) error { return b.err }
func (b broken) Issue(context.Context, ca.Request) (store.Certificate, error) {
	return store.Certificate{}, b.err
}
func (b broken) Profiles() map[string]*profile.Profile       { return nil }
func (b broken) Audit(context.Context, string, ...slog.Attr) {}

// brokenDoor is a door whose store and signer fail with that error, and a token
// for it.
func brokenDoor(t *testing.T, err error) (door *token.Door, byToken string) {
	t.Helper()
	const url = "https://ca.corp"
	ci := newSigner(t)
	by, compileErr := provisioner.Compile("ci", provisioner.Spec{Type: "jwk", Keys: []string{ci.public(t)}}, provisioner.Deps{
		Now: time.Now, Client: provisioner.NewClient, Audiences: func() []string { return []string{url} },
	})
	check(t, compileErr)
	parts := broken{err}
	door = token.New(token.Deps{
		Config: token.Config{ExternalURL: url, Provisioners: provisioner.NewSet([]*provisioner.Provisioner{by}, nil)},
		Store:  parts, Authority: parts, Auditor: parts, Limits: limits.New(limits.Config{}, time.Now),
		ClientCertificate: func(*http.Request) (store.Certificate, error) {
			return store.Certificate{Requester: "token:ci/runner", Profile: "p"}, nil
		},
		Reason: admin.ParseReason, CheckKey: keys.Check, Now: time.Now, Annotate: func(context.Context, string, string) {},
	})
	now := time.Now().Unix()
	return door, ci.token(t, claims{"iss": "ci", "aud": url, "sub": "runner", "sans": []string{"a.corp"}, "jti": "1", "iat": now, "exp": now + 60})
}

// fails asks a door whose parts fail.
func (d *document) fails(t *testing.T, err error) {
	t.Helper()
	door, by := brokenDoor(t, err)
	server := httptest.NewServer(door.Handler())
	defer server.Close()
	csr := newCSR(t, newKey(t))
	for path, body := range map[string]any{
		signs: token.SignRequest{Token: by, CSR: csr}, renews: token.RenewRequest{CSR: csr},
		revokes: token.RevokeRequest{Serial: "01", Token: by}, "/api/v1/roots": nil, renewal: nil,
	} {
		method := http.MethodPost
		if body == nil {
			method = http.MethodGet
		}
		got := call(t, server.Client(), method, server.URL+parameter.ReplaceAllString(path, "01"), body)
		if got.Status < 500 || strings.Contains(string(got.Body), "disk") || strings.Contains(string(got.Body), "connection") {
			t.Errorf("%s: %v: answered %d: %s", path, err, got.Status, got.Body)
		}
		d.promised(t, method, path, got)
	}
}

// times sends bodies that don't come to their end.
func (d *document) times(t *testing.T) {
	t.Helper()
	door, _ := brokenDoor(t, nil)
	server := httptest.NewUnstartedServer(door.Handler())
	server.Config.ReadTimeout = 200 * time.Millisecond
	server.Start()
	defer server.Close()
	for _, path := range []string{signs, renews, revokes} {
		d.promised(t, http.MethodPost, path, cut(t, server.Listener.Addr().String(), http.MethodPost, path))
	}
}

// cut sends the beginning of a body, and waits for what is said to it.
func cut(t *testing.T, address, method, path string) answer {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	check(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: ca.corp\r\nContent-Length: 100\r\n\r\n{", method, path)
	check(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	check(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(t, err)
	return answer{response.StatusCode, response.Header, body}
}
