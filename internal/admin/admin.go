// Package admin is the administrative HTTP API and its client: what was issued,
// revocation, incidents, orders and accounts, keys for external account binding
// and what they grant, policy and limits, backup and reload. The command line
// is a client of it, through a running server's socket, over HTTPS or, when no
// server runs, in its own process; there is no second way to do these things.
// Each operation has a role. Whoever can open the socket is an admin; over
// HTTPS a certificate or a token says who calls. It renders no pages.
package admin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"chancery/internal/archive"
	"chancery/internal/cluster"
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
	// file at path. It is nil when the store is in a database elsewhere.
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
	// Cluster asks about the nodes that share the store; nil when it is not
	// shared.
	Cluster func(ctx context.Context) (cluster.Status, error)
	// AccountClosed is called when an operator has closed an account; may be nil.
	AccountClosed func(id string)
	// GrantChanged is called when a binding key was changed or revoked; may be nil.
	GrantChanged func(id string)
	// IncidentsChanged is called when an incident was opened or closed; may be nil.
	IncidentsChanged func()
	// Generations returns those of all configured issuers, as far as they can be
	// read; may be nil.
	Generations func() []Generation
	// Decide asks the policy in force.
	Decide func(ctx context.Context, q policy.Question) (policy.Decision, error)
	// Profile returns the name of a profile that there is, the default one's
	// for "", or a failure.
	Profile func(name string) (string, error)
	// Provisioners are those who vouch for tokens.
	Provisioners ProvisionerDeps
	Limits       *limits.Limits // nil when no server runs
	Auditor      Auditor
	Now          func() time.Time
	Rand         io.Reader // nil for crypto/rand
}

// New returns the API for those who reach it where they need not say who they
// are: admin.sock, or the same process. They are admins.
func New(deps Deps) http.Handler {
	a := newAPI(deps)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.serve(w, r.WithContext(withCaller(r.Context(), caller{peer(r.Context()), Admin})))
	})
}

func newAPI(deps Deps) *api {
	if deps.Rand == nil {
		deps.Rand = rand.Reader
	}
	if deps.AccountClosed == nil {
		deps.AccountClosed = func(string) {}
	}
	if deps.GrantChanged == nil {
		deps.GrantChanged = func(string) {}
	}
	if deps.IncidentsChanged == nil {
		deps.IncidentsChanged = func() {}
	}
	if deps.Generations == nil {
		deps.Generations = func() []Generation { return nil }
	}
	if deps.Files == nil {
		deps.Files = func() ([]archive.Source, error) { return nil, nil }
	}
	a := &api{Deps: deps}
	a.mux = http.NewServeMux()
	for _, one := range a.routes() {
		a.mux.Handle(one.Method+" "+one.Path, a.guard(one))
	}
	return a
}

type api struct {
	Deps
	mux *http.ServeMux
}

// serve answers somebody who is known.
func (a *api) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	a.mux.ServeHTTP(w, r)
}

// endpoint serves one request: its result is written as JSON.
type endpoint func(r *http.Request) (result any, err error)

func (serve endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	result, err := serve(r)
	if err != nil {
		writeError(w, r, err)
		return
	}
	writeJSON(patience(w), result) // finding it may have taken long
}

const maxBody = 1 << 20

// page is one page of a listing.
type page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"` // the "after" of the next page; "" on the last
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // the client is gone, then
}

// writeError is the only place where errors become problems (RFC 9457). The
// API's client is the operator, who may see the whole error.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	problem := &Error{Text: err.Error()}
	if own, ok := errors.AsType[*Error](err); ok {
		problem.Hint, problem.Status = own.Hint, own.Status
	}
	if problem.Status == 0 {
		problem.Status = statusOf(err)
	}
	if problem.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "10")
	}
	problem.Title, problem.Type = http.StatusText(problem.Status), typePrefix+typeOf(problem.Status)
	observe.Add(r.Context(), "error", problem.Text)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(problem.Status)
	_ = json.NewEncoder(w).Encode(problem) // the client is gone, then
}

func statusOf(err error) int {
	switch failure.KindOf(err) {
	case failure.NotFound:
		return http.StatusNotFound
	case failure.Malformed, failure.BadReason, failure.Unsupported:
		return http.StatusBadRequest
	case failure.Conflict, failure.AlreadyRevoked, failure.NotReady:
		return http.StatusConflict
	case failure.Unavailable:
		return http.StatusServiceUnavailable
	}
	if errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

const typePrefix = "urn:chancery:error:"

// typeOf names the problem of a status for programs.
func typeOf(status int) string {
	name, found := map[int]string{
		http.StatusBadRequest: "malformed", http.StatusUnauthorized: "unauthenticated", http.StatusForbidden: "unauthorized",
		http.StatusNotFound: "notFound", http.StatusConflict: "conflict", http.StatusTooManyRequests: "rateLimited",
		http.StatusServiceUnavailable: "unavailable", http.StatusRequestTimeout: "requestTimeout",
		http.StatusRequestEntityTooLarge: "tooLarge",
	}[status]
	if !found {
		return "serverInternal"
	}
	return name
}

// Error is an answer that is not success: a problem document (RFC 9457).
type Error struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"` // of HTTP
	Text   string `json:"detail"`
	Hint   string `json:"hint,omitempty"` // the remedy
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

func (a *api) cluster(r *http.Request) (any, error) {
	if a.Cluster == nil {
		return cluster.Status{Store: cluster.Embedded, Nodes: []cluster.Node{}, Leases: []cluster.Lease{}, Warnings: []string{}}, nil
	}
	status, err := a.Cluster(r.Context())
	return status, failure.Wrap("look at the nodes", err)
}

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
	err := decoder.Decode(value)
	switch _, large := errors.AsType[*http.MaxBytesError](err); {
	case large:
		return refused(http.StatusRequestEntityTooLarge, fmt.Sprintf("the request has more than %d octets", maxBody), "")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refused(http.StatusRequestTimeout, "the request's body took too long to arrive", "")
	case err != nil && !errors.Is(err, io.EOF):
		return failure.New(failure.Malformed, "the request's body cannot be read: %v", err)
	}
	return nil
}
