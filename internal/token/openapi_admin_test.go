package token_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/internal/admin"
	"chancery/internal/hierarchy"
	"chancery/internal/server/servertest"
	"chancery/internal/store"
	"chancery/internal/store/sqlite"
)

// asking is one who asks operators' routes, and checks all answers.
type asking struct {
	*document
	client *http.Client
	base   string
}

// ask sends a request: path may have a query, and id is put into it.
func (a asking) ask(t *testing.T, method, path, id string, body any) answer {
	t.Helper()
	template, query, _ := strings.Cut(admin.Prefix+path, "?")
	got := call(t, a.client, method, a.base+parameter.ReplaceAllString(template, url.PathEscape(id))+"?"+query, body)
	a.promised(t, method, template, got)
	return got
}

// TestDocumentOfOperators has operators' routes answer every kind of error that
// the document has, and no other.
func TestDocumentOfOperators(t *testing.T) {
	t.Parallel()
	ci := newSigner(t)
	ca := start(t, jwkSpec(t, "ci", ci, ""))
	d := read(t, ca)
	made, err := operator(t, ca).CreateToken(t.Context(), admin.NewToken{Name: "test", Role: "admin"})
	check(t, err)
	a := asking{d, &http.Client{Transport: bearing{made.Secret, ca.HTTP.Transport}}, ca.BaseURL}
	a.nobody(t, ca)
	a.unusable(t)
	a.conflicts(t, ca, ci)
	ca.WriteConfig("nonsense: true\n")
	a.ask(t, http.MethodPost, "/reload", "", nil)
	for _, err := range []error{errors.New("the disk is broken"), store.ErrUnavailable} {
		a.broken(t, err)
	}
	a.closed(t)
	d.complete(t, func(path string) bool { return strings.HasPrefix(path, admin.Prefix) })
}

// bearing shows a token with each request.
type bearing struct {
	token string
	next  http.RoundTripper
}

func (b bearing) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(request)
}

// nobody asks everything without saying who it is, from an address for each
// route, until it is told to wait; and from another site's page.
func (a asking) nobody(t *testing.T, ca *servertest.CA) {
	t.Helper()
	for i, route := range admin.Routes() {
		transport := ca.HTTP.Transport.(*http.Transport).Clone()
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 200, 0, byte(i+1))}}
		transport.DialContext = dialer.DialContext
		stranger := asking{a.document, &http.Client{Transport: transport}, a.base}
		path := strings.TrimPrefix(route.Path, admin.Prefix)
		for stranger.ask(t, route.Method, path, "1", nil).Status == http.StatusUnauthorized {
		}
		transport.CloseIdleConnections()
		request, err := http.NewRequestWithContext(t.Context(), route.Method, a.base+parameter.ReplaceAllString(route.Path, "1"), nil)
		check(t, err)
		request.Header.Set("Sec-Fetch-Site", "cross-site")
		response, err := a.client.Do(request)
		check(t, err)
		var problem json.RawMessage
		check(t, json.NewDecoder(response.Body).Decode(&problem))
		check(t, response.Body.Close())
		a.promised(t, route.Method, route.Path, answer{response.StatusCode, response.Header, problem})
	}
}

// unusable asks for what there is not, and sends what can't be read.
func (a asking) unusable(t *testing.T) {
	t.Helper()
	for _, route := range admin.Routes() {
		path := strings.TrimPrefix(route.Path, admin.Prefix)
		if path == "/reload" {
			continue
		}
		for _, id := range []string{"x", "1"} {
			if route.Request == nil {
				a.ask(t, route.Method, path, id, nil)
				a.ask(t, route.Method, path+"?nothing=1", id, nil)
				a.ask(t, route.Method, path+"?limit=x", id, nil)
				continue
			}
			for _, body := range []string{"", "{", "{}", `{"nothing":1}`} {
				a.ask(t, route.Method, path, id, body)
			}
		}
	}
	large := strings.Repeat(" ", 1<<20+1)
	for _, route := range admin.Routes() {
		if route.Request != nil {
			a.ask(t, route.Method, strings.TrimPrefix(route.Path, admin.Prefix), "1", large)
		}
	}
	type object = map[string]any
	for _, path := range []string{"/certificates", "/certificates/count", "/certificates/export"} {
		a.ask(t, http.MethodGet, path+"?issuer=nobody", "", nil)
	}
	a.ask(t, http.MethodGet, "/limits?account=nobody", "", nil)
	a.ask(t, http.MethodPost, "/policy/test", "", object{"names": []string{"a.corp"}, "account": "nobody"})
	a.ask(t, http.MethodPost, "/certificates/revoke", "", object{"serials": []string{"01"}})
	a.ask(t, http.MethodPost, "/incidents", "", object{"query": object{"issuer": "nobody"}})
	a.ask(t, http.MethodPost, "/certificates/{serial}/revoke", "01", object{"reason": "superseded"})
}

// conflicts asks for what something else is in the way of.
func (a asking) conflicts(t *testing.T, ca *servertest.CA, ci *signer) {
	t.Helper()
	type object = map[string]any
	twice := func(path, id string) {
		t.Helper()
		a.ask(t, http.MethodPost, path, id, nil)
		a.ask(t, http.MethodPost, path, id, nil)
	}
	made := func(path string, body any) string {
		t.Helper()
		var it struct{ ID, KID string }
		check(t, json.Unmarshal(a.ask(t, http.MethodPost, path, "", body).Body, &it))
		return it.ID + it.KID
	}
	a.ask(t, http.MethodPost, "/provisioners", "", object{"name": "ci", "spec": object{"type": "jwk"}})
	a.ask(t, http.MethodDelete, "/provisioners/{name}", "ci", nil)
	twice("/tokens/{id}/revoke", made("/tokens", object{"name": "other", "role": "viewer"}))
	kid := made("/eab", object{"name": "team"})
	a.ask(t, http.MethodPatch, "/eab/{kid}", kid, object{"name": "other"})
	twice("/eab/{kid}/revoke", kid)
	a.ask(t, http.MethodPatch, "/eab/{kid}", kid, object{"name": "again"})
	twice("/accounts/{id}/deactivate", filepath.Base(ca.Client().AccountURL))
	twice("/incidents/{id}/close", made("/incidents", object{"query": object{"profile": "tls-server"}}))

	get(t, ca, ci, "ci", "tls-mutual", "a.corp", "b.corp")
	leaf, _ := get(t, ca, ci, "ci", "tls-mutual", "a.corp")
	a.ask(t, http.MethodGet, "/services/{id}", "a.corp", nil)
	record := recordOf(t, ca, leaf)
	twin(t, ca, &record)
	a.ask(t, http.MethodGet, "/certificates/{serial}", record.Serial.String(), nil)
	a.ask(t, http.MethodPost, "/certificates/{serial}/revoke", record.Serial.String(), object{"reason": "superseded"})
	for _, path := range []string{"/certificates", "/certificates/count", "/certificates/export"} {
		a.ask(t, http.MethodGet, path+"?issuer="+hierarchy.DefaultIssuer, "", nil)
	}
	a.ask(t, http.MethodPost, "/certificates/revoke", "", object{"query": object{"issuer": hierarchy.DefaultIssuer}})
	a.ask(t, http.MethodPost, "/incidents", "", object{"query": object{"issuer": hierarchy.DefaultIssuer}})
}

// twin gives the CA another generation of its issuer, and that a certificate of
// the same serial number, which it has not signed to the end.
func twin(t *testing.T, ca *servertest.CA, of *store.Certificate) {
	t.Helper()
	_, err := hierarchy.Rotate(hierarchy.RotateOptions{
		Files:      hierarchy.IssuerFiles{Dir: ca.Dir, Name: hierarchy.DefaultIssuer, Certificate: hierarchy.IntermediateFile, Key: hierarchy.KeyFile},
		Passphrase: []byte(servertest.RootPassphrase),
	})
	check(t, err)
	ca.Reload()
	issuers, err := ca.Store().Issuers(t.Context())
	check(t, err)
	key := store.CertificateKey{Serial: of.Serial}
	for _, issuer := range issuers {
		if issuer.ID != of.IssuerID {
			key.IssuerID = issuer.ID
		}
	}
	ca.Stop()
	check(t, ca.Store().BeginIssuance(t.Context(), store.Intent{
		CertificateKey: key, Owner: store.Owner{Kind: store.OwnerToken, ID: "twin"}, OwnerExpires: time.Now().Add(time.Hour),
		TBS: of.DER, Request: []byte("{}"), Attempt: 1, Created: time.Now(), Deadline: time.Now().Add(-time.Minute),
	}))
	ca.Restart()
}

// forgetful is a store that can't say whose a token is.
type forgetful struct {
	store.Store
	err error
}

func (f forgetful) AdminToken(context.Context, string) (store.AdminToken, error) {
	return store.AdminToken{}, f.err
}

// broken asks an API whose store fails.
func (a asking) broken(t *testing.T, err error) {
	t.Helper()
	server := httptest.NewServer(admin.Remote(admin.Deps{Store: forgetful{err: err}, Now: time.Now, Auditor: broken{}}, admin.Callers{}))
	defer server.Close()
	a.client, a.base = &http.Client{Transport: bearing{"chancery-1-00", http.DefaultTransport}}, server.URL
	for _, route := range admin.Routes() {
		a.ask(t, route.Method, strings.TrimPrefix(route.Path, admin.Prefix), "1", nil)
	}
}

// closed asks an API whose store is closed, and sends it bodies that don't come
// to their end.
func (a asking) closed(t *testing.T) {
	t.Helper()
	closed, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "chancery.db")})
	check(t, err)
	check(t, closed.Close())
	server := httptest.NewUnstartedServer(admin.New(admin.Deps{
		Store: closed, Now: time.Now, Auditor: broken{}, Dir: t.TempDir(),
		Backup: func(context.Context, string) error { return store.ErrUnavailable },
		Status: func(context.Context) admin.Status { return admin.Status{} },
		Reload: func(context.Context) (admin.Reloaded, error) { return admin.Reloaded{}, errors.New("x") },
	}))
	server.Config.ReadTimeout = 200 * time.Millisecond
	server.Start()
	defer server.Close()
	a.client, a.base = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, server.URL
	var sending sync.WaitGroup
	defer sending.Wait()
	for _, route := range admin.Routes() {
		path := strings.TrimPrefix(route.Path, admin.Prefix)
		if route.Request != nil {
			sending.Go(func() {
				filled := parameter.ReplaceAllString(route.Path, "1")
				a.promised(t, route.Method, route.Path, cut(t, server.Listener.Addr().String(), route.Method, filled))
			})
			continue
		}
		if path == "/limits" || path == "/certificates/export" { // needs a server; is cut when it has begun
			continue
		}
		a.ask(t, route.Method, path, "1", nil)
	}
}
