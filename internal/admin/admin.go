// Package admin is the administrative HTTP API and its client: listing and
// revoking certificates, looking into orders, closing accounts, binding keys
// and what they grant, asking policy and limits, backup and reload. The command line is a client of it, through a running
// server's socket or, when none runs, in its own process; there is no second
// way to do these things. The package authenticates nobody: whoever can open
// the socket is the operator.
package admin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"chancery/internal/archive"
	"chancery/internal/failure"
	"chancery/internal/limits"
	"chancery/internal/observe"
	"chancery/internal/policy"
	"chancery/internal/store"
)

// Auditor writes one line for each change of state.
type Auditor interface {
	Audit(ctx context.Context, action string, attrs ...slog.Attr)
}

// Deps is what the API works on.
type Deps struct {
	Store store.Store
	// Backup writes a copy of the store, as it is at one moment, into a new
	// file at path.
	Backup func(ctx context.Context, path string) error
	// Files lists what else belongs into a backup; nil for nothing.
	Files func() ([]archive.Source, error)
	// Dir is where a backup is put together before it is sent.
	Dir string
	// Reload reads the configuration again, and audits that; nil when no
	// server runs.
	Reload func(ctx context.Context) (Reloaded, error)
	// Status says how the server does.
	Status func(ctx context.Context) Status
	// AccountClosed is called when an operator has closed an account; may be nil.
	AccountClosed func(id string)
	// GrantChanged is called when a binding key was changed or revoked; may be nil.
	GrantChanged func(id string)
	// Decide asks the policy in force.
	Decide func(ctx context.Context, q policy.Question) (policy.Decision, error)
	// Profile returns the name of a profile that there is, the default one's
	// for "", or a failure.
	Profile func(name string) (string, error)
	Limits  *limits.Limits // nil when no server runs
	Auditor Auditor
	Now     func() time.Time
	Rand    io.Reader // nil for crypto/rand
}

// New returns the handler that serves the API.
func New(deps Deps) http.Handler {
	if deps.Rand == nil {
		deps.Rand = rand.Reader
	}
	if deps.AccountClosed == nil {
		deps.AccountClosed = func(string) {}
	}
	if deps.GrantChanged == nil {
		deps.GrantChanged = func(string) {}
	}
	if deps.Files == nil {
		deps.Files = func() ([]archive.Source, error) { return nil, nil }
	}
	a := &api{Deps: deps}
	mux := http.NewServeMux()
	for pattern, serve := range map[string]endpoint{
		"GET /v1/status":                        a.status,
		"POST /v1/reload":                       a.reload,
		"GET /v1/certificates":                  a.listCertificates,
		"GET /v1/certificates/{serial}":         a.showCertificate,
		"POST /v1/certificates/{serial}/revoke": a.revokeCertificate,
		"GET /v1/orders":                        a.listOrders,
		"GET /v1/issuers":                       a.listIssuers,
		"GET /v1/orders/{id}":                   a.showOrder,
		"GET /v1/accounts":                      a.listAccounts,
		"GET /v1/accounts/{id}":                 a.showAccount,
		"POST /v1/accounts/{id}/deactivate":     a.closeAccount,
		"GET /v1/eab":                           a.listBindings,
		"POST /v1/eab":                          a.createBinding,
		"GET /v1/eab/{kid}":                     a.showBinding,
		"PATCH /v1/eab/{kid}":                   a.updateBinding,
		"POST /v1/eab/{kid}/revoke":             a.revokeBinding,
		"POST /v1/policy/test":                  a.testPolicy,
		"GET /v1/limits":                        a.showLimits,
	} {
		mux.Handle(pattern, serve)
	}
	mux.HandleFunc("GET /v1/backup", a.backup)
	return mux
}

type api struct{ Deps }

// endpoint serves one request: its result is written as JSON.
type endpoint func(r *http.Request) (result any, err error)

func (serve endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, resource, _ := strings.Cut(r.Pattern, "/v1/")
	observe.SetResource(r.Context(), "admin/"+resource)
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	result, err := serve(r)
	if err != nil {
		writeError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, result)
}

const maxBody = 1 << 20

// page is one page of a listing.
type page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"` // the "after" of the next page; "" on the last
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // the client is gone, then
}

// writeError maps failures to HTTP. The API's client is the operator, who may
// see the whole error.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	status, hint := http.StatusInternalServerError, ""
	switch failure.KindOf(err) {
	case failure.NotFound:
		status = http.StatusNotFound
	case failure.Malformed, failure.BadReason, failure.Unsupported:
		status = http.StatusBadRequest
	case failure.Conflict, failure.AlreadyRevoked, failure.NotReady:
		status = http.StatusConflict
	case failure.Unavailable:
		status = http.StatusServiceUnavailable
	}
	if hinted, ok := errors.AsType[*Error](err); ok {
		hint = hinted.Hint
	}
	observe.Add(r.Context(), "error", err.Error())
	writeJSON(w, status, &Error{Text: err.Error(), Hint: hint, Status: status})
}

// Error is an answer that is not success.
type Error struct {
	Text   string `json:"error"`
	Hint   string `json:"hint,omitempty"`
	Status int    `json:"-"` // of HTTP
	err    error
}

func (e *Error) Error() string { return e.Text }

// Unwrap returns the cause, on the server's side.
func (e *Error) Unwrap() error { return e.err }

// hinted adds a hint to a failure.
func hinted(err error, hint string) error {
	return &Error{Text: err.Error(), Hint: hint, err: err}
}

func (a *api) status(r *http.Request) (any, error) { return a.Status(r.Context()), nil }

func (a *api) reload(r *http.Request) (any, error) {
	if a.Reload == nil {
		return nil, hinted(failure.New(failure.NotReady, "no server runs, so there is nothing to reload"),
			"a server reads its configuration when it starts")
	}
	reloaded, err := a.Reload(r.Context())
	if err != nil {
		return nil, hinted(&failure.Error{Kind: failure.Malformed, Op: "reload the configuration", Err: err},
			"the running configuration stays in force; \"chancery config check\" shows what is wrong")
	}
	return reloaded, nil
}

// decode reads a request's JSON body strictly; an empty body leaves value as
// it is.
func decode(r *http.Request, value any) error {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil && !errors.Is(err, io.EOF) {
		return failure.New(failure.Malformed, "the request's body cannot be read: %v", err)
	}
	return nil
}
