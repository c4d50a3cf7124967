package token

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/openapi"
	"chancery/internal/store"
)

// Problem is a problem document (RFC 9457): every error a client gets to see.
type Problem struct {
	Type        string                 `json:"type" doc:"urn:chancery:error: and the kind of problem."`
	Title       string                 `json:"title"`
	Status      int                    `json:"status,omitempty"`
	Detail      string                 `json:"detail" doc:"What was expected, what was found, and the remedy."`
	Identifier  *identifier.Identifier `json:"identifier,omitempty" doc:"The name that a subproblem is about."`
	Subproblems []Problem              `json:"subproblems,omitempty"`

	header http.Header
	cause  error // for the log
}

const typePrefix = "urn:chancery:error:"

// errorType is a kind of problem, with the status and the title it has.
type errorType struct {
	name   string
	status int
	title  string
}

// The kinds of problems, by the names in their types.
const (
	alreadyRevoked        = "alreadyRevoked"
	badCSR                = "badCSR"
	badRevocationReason   = "badRevocationReason"
	invalidProfile        = "invalidProfile"
	malformed             = "malformed"
	methodNotAllowed      = "methodNotAllowed"
	notFound              = "notFound"
	rateLimited           = "rateLimited"
	rejectedIdentifier    = "rejectedIdentifier"
	requestTimeout        = "requestTimeout"
	serverInternal        = "serverInternal"
	tokenUsed             = "tokenUsed"
	tooLarge              = "tooLarge"
	unauthorized          = "unauthorized"
	unavailable           = "unavailable"
	unsupportedIdentifier = "unsupportedIdentifier"
)

func errorTypes() []errorType {
	return []errorType{
		{alreadyRevoked, http.StatusConflict, "The certificate is already revoked"},
		{badCSR, http.StatusBadRequest, "The certificate signing request is unacceptable"},
		{badRevocationReason, http.StatusBadRequest, "The revocation reason is not accepted"},
		{invalidProfile, http.StatusBadRequest, "The profile is not available"},
		{malformed, http.StatusBadRequest, "The request cannot be understood"},
		{methodNotAllowed, http.StatusMethodNotAllowed, "The method is not for this resource"},
		{notFound, http.StatusNotFound, "There is no such thing"},
		{rateLimited, http.StatusTooManyRequests, "There were too many requests"},
		{rejectedIdentifier, http.StatusForbidden, "Policy forbids a name"},
		{requestTimeout, http.StatusRequestTimeout, "The request did not arrive in time"},
		{serverInternal, http.StatusInternalServerError, "The server has failed"},
		{tokenUsed, http.StatusForbidden, "The token was used before"},
		{tooLarge, http.StatusRequestEntityTooLarge, "The request is too large"},
		{unauthorized, http.StatusForbidden, "Who asks is not proven, or may not do this"},
		{unavailable, http.StatusServiceUnavailable, "The CA cannot answer just now"},
		{unsupportedIdentifier, http.StatusBadRequest, "Names of this type are not served"},
	}
}

// problems are the kinds of those names, as the API's description lists them.
func problems(names ...string) []openapi.Problem {
	var list []openapi.Problem
	for _, typ := range errorTypes() {
		if slices.Contains(names, typ.name) {
			list = append(list, openapi.Problem{Status: typ.status, Type: typePrefix + typ.name})
		}
	}
	return list
}

func newProblem(name, detail string) *Problem {
	types := errorTypes()
	i := slices.IndexFunc(types, func(typ errorType) bool { return typ.name == name })
	return &Problem{Type: typePrefix + name, Title: types[i].title, Status: types[i].status, Detail: detail}
}

func (p *Problem) because(err error) *Problem {
	p.cause = err
	return p
}

func (p *Problem) retryAfter(after time.Duration) *Problem {
	seconds := max(1, int((after+time.Second-1)/time.Second))
	p.header = http.Header{"Retry-After": {strconv.Itoa(seconds)}}
	return p
}

// Error makes a problem an error, so that handlers can return one where only
// this door has a word for what is wrong.
func (p *Problem) Error() string { return strings.TrimPrefix(p.Type, typePrefix) + ": " + p.Detail }

// Unwrap returns what caused it, if known.
func (p *Problem) Unwrap() error { return p.cause }

// kindType is how a failure reads here. Kinds that are not listed are ours.
func kindType(kind failure.Kind) string {
	name, ok := map[failure.Kind]string{
		failure.Malformed:      malformed,
		failure.Unauthorized:   unauthorized,
		failure.NotFound:       notFound,
		failure.BadCSR:         badCSR,
		failure.BadKey:         badCSR, // where it comes,
		failure.Rejected:       rejectedIdentifier,
		failure.Unsupported:    unsupportedIdentifier,
		failure.BadProfile:     invalidProfile,
		failure.AlreadyRevoked: alreadyRevoked,
		failure.BadReason:      badRevocationReason,
		failure.RateLimited:    rateLimited,
		failure.Unavailable:    unavailable,
	}[kind]
	if !ok {
		return serverInternal
	}
	return name
}

// retryLater is what clients are told when the CA cannot answer and does not
// know until when.
const retryLater = 10 * time.Second

// problemOf is the only place where errors become problems.
func problemOf(err error) *Problem {
	if problem, ok := errors.AsType[*Problem](err); ok {
		return problem
	}
	if errors.Is(err, store.ErrUsed) {
		return newProblem(tokenUsed, "the token was used for a certificate before; get a new one").because(err)
	}
	if failed, ok := errors.AsType[*failure.Error](err); ok && failed.Kind != failure.Internal {
		return problemOfFailure(failed).because(err)
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return newProblem(notFound, "there is no such certificate").because(err)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return newProblem(unavailable, "the CA cannot answer just now; try again").retryAfter(retryLater).because(err)
	}
	return newProblem(serverInternal, "an internal error; the server's log says more").because(err)
}

func problemOfFailure(failed *failure.Error) *Problem {
	problem := newProblem(kindType(failed.Kind), failed.Public)
	for _, part := range failed.Parts {
		sub := newProblem(kindType(part.Kind), part.Public)
		sub.Status, sub.Identifier = 0, &part.Identifier
		problem.Subproblems = append(problem.Subproblems, *sub)
	}
	switch {
	case failed.RetryAfter > 0:
		return problem.retryAfter(failed.RetryAfter)
	case failed.Kind == failure.Unavailable:
		return problem.retryAfter(retryLater)
	}
	return problem
}

func (d *Door) writeProblem(w http.ResponseWriter, r *http.Request, problem *Problem) {
	d.deps.Annotate(r.Context(), "error", problem.Error())
	if problem.cause != nil {
		d.deps.Annotate(r.Context(), "cause", problem.cause.Error())
	}
	for name, values := range problem.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(problem.Status)
	_ = json.NewEncoder(w).Encode(problem) // the client is gone, then
}
