package acme

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/store"
)

// Problem is a problem document (RFC 7807, RFC 8555 §6.7): every error a
// client gets to see.
type Problem struct {
	Type        string                 `json:"type"`
	Status      int                    `json:"status,omitempty"`
	Detail      string                 `json:"detail,omitempty"`
	Instance    string                 `json:"instance,omitempty"`
	Identifier  *identifier.Identifier `json:"identifier,omitempty"`
	Algorithms  []string               `json:"algorithms,omitempty"` // with badSignatureAlgorithm (RFC 8555 §6.2)
	Subproblems []Problem              `json:"subproblems,omitempty"`

	header http.Header // sent with it: Location, Retry-After
	cause  error       // for the log
}

// errorType is a type from the registry of RFC 8555 §9.7.4 without its prefix.
type errorType string

const typePrefix = "urn:ietf:params:acme:error:"

// The types used by this door and what their status is (RFC 8555 §6.7, RFC
// 9773 §7.4, the profiles draft §5).
const (
	accountDoesNotExist     errorType = "accountDoesNotExist"
	alreadyReplaced         errorType = "alreadyReplaced"
	alreadyRevoked          errorType = "alreadyRevoked"
	badAttestationStatement errorType = "badAttestationStatement"
	badCSR                  errorType = "badCSR"
	badNonce                errorType = "badNonce"
	badPublicKey            errorType = "badPublicKey"
	badRevocationReason     errorType = "badRevocationReason"
	badSignatureAlgorithm   errorType = "badSignatureAlgorithm"
	caaForbids              errorType = "caa"
	compound                errorType = "compound"
	connection              errorType = "connection"
	dnsFailed               errorType = "dns"
	externalAccountRequired errorType = "externalAccountRequired"
	incorrectResponse       errorType = "incorrectResponse"
	invalidContact          errorType = "invalidContact"
	invalidProfile          errorType = "invalidProfile"
	malformed               errorType = "malformed"
	orderNotReady           errorType = "orderNotReady"
	rateLimited             errorType = "rateLimited"
	rejectedIdentifier      errorType = "rejectedIdentifier"
	serverInternal          errorType = "serverInternal"
	tlsFailed               errorType = "tls"
	unauthorized            errorType = "unauthorized"
	unsupportedContact      errorType = "unsupportedContact"
	unsupportedIdentifier   errorType = "unsupportedIdentifier"
	userActionRequired      errorType = "userActionRequired"
)

// newProblem makes a problem with the status its type goes with.
func newProblem(typ errorType, format string, args ...any) *Problem {
	return &Problem{Type: typePrefix + string(typ), Status: statusOf(typ), Detail: fmt.Sprintf(format, args...)}
}

func statusOf(typ errorType) int {
	switch typ {
	case unauthorized, orderNotReady, userActionRequired, rejectedIdentifier, caaForbids, externalAccountRequired:
		return http.StatusForbidden
	case alreadyReplaced:
		return http.StatusConflict
	case rateLimited:
		return http.StatusTooManyRequests
	case serverInternal:
		return http.StatusInternalServerError
	default:
		return http.StatusBadRequest
	}
}

func notFound(format string, args ...any) *Problem {
	return newProblem(malformed, format, args...).with(http.StatusNotFound)
}

func (p *Problem) with(status int) *Problem {
	p.Status = status
	return p
}

// set adds a header to the answer that carries the problem.
func (p *Problem) set(name, value string) *Problem {
	if p.header == nil {
		p.header = http.Header{}
	}
	p.header.Set(name, value)
	return p
}

func (p *Problem) because(err error) *Problem {
	p.cause = err
	return p
}

// Error makes a problem an error, so that handlers can return one where only
// ACME has a word for what is wrong.
func (p *Problem) Error() string { return p.Type[len(typePrefix):] + ": " + p.Detail }

// Unwrap returns what caused it, if known.
func (p *Problem) Unwrap() error { return p.cause }

// kindTypes is how failures read in ACME. Kinds that are not listed are ours.
var kindTypes = map[failure.Kind]errorType{
	failure.Malformed:         malformed,
	failure.Unauthorized:      unauthorized,
	failure.NotFound:          malformed,
	failure.Conflict:          malformed,
	failure.NotReady:          orderNotReady,
	failure.BadCSR:            badCSR,
	failure.BadKey:            badPublicKey,
	failure.Rejected:          rejectedIdentifier,
	failure.Unsupported:       unsupportedIdentifier,
	failure.BadProfile:        invalidProfile,
	failure.AlreadyRevoked:    alreadyRevoked,
	failure.BadReason:         badRevocationReason,
	failure.RateLimited:       rateLimited,
	failure.Connection:        connection,
	failure.DNS:               dnsFailed,
	failure.TLS:               tlsFailed,
	failure.IncorrectResponse: incorrectResponse,
	failure.CAA:               caaForbids,
	failure.BadAttestation:    badAttestationStatement,
}

// retryLater is what clients are told when the CA cannot answer and does not
// know until when.
const retryLater = 10 * time.Second

// problemOf is the only place where errors become problems.
func problemOf(err error) *Problem {
	if problem, ok := errors.AsType[*Problem](err); ok {
		return problem
	}
	if failed, ok := errors.AsType[*failure.Error](err); ok && failed.Kind != failure.Internal {
		return problemOfFailure(failed).because(err)
	}
	switch {
	case errors.Is(err, store.ErrNotReady), errors.Is(err, store.ErrClaimed):
		return newProblem(orderNotReady, "%s", rootCause(err)).because(err)
	case errors.Is(err, store.ErrNotValid):
		return newProblem(unauthorized, "the account was deactivated").with(http.StatusUnauthorized).because(err)
	case errors.Is(err, store.ErrReplaced):
		return newProblem(alreadyReplaced, "the certificate in \"replaces\" is already replaced by another order").because(err)
	case errors.Is(err, store.ErrNotFound):
		return notFound("there is no such resource, or it is another account's").because(err)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return unavailable(retryLater, "the CA cannot answer just now; try again").because(err)
	}
	return newProblem(serverInternal, "an internal error; the server's log says more").because(err)
}

// rootCause is the innermost error: the store's plain sentence.
func rootCause(err error) error {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err
}

// unavailable asks the client to come back. It is never a 4xx, which some
// clients take as the end of an order.
func unavailable(after time.Duration, format string, args ...any) *Problem {
	return newProblem(serverInternal, format, args...).with(http.StatusServiceUnavailable).
		set("Retry-After", seconds(after))
}

func problemOfFailure(failed *failure.Error) *Problem {
	if failed.Kind == failure.Unavailable {
		after := failed.RetryAfter
		if after == 0 {
			after = retryLater
		}
		return unavailable(after, "%s", failed.Public)
	}
	problem := problemOfReport(failure.ReportOf(failed))
	problem.Status = statusOf(kindTypes[failed.Kind])
	switch failed.Kind {
	case failure.NotFound:
		problem.Status = http.StatusNotFound
	case failure.Conflict:
		problem.Status = http.StatusConflict
	}
	if failed.RetryAfter > 0 {
		problem.set("Retry-After", seconds(failed.RetryAfter))
	}
	return problem
}

// problemOfReport is a stored failure as it is shown inside a challenge or an
// order.
func problemOfReport(report *failure.Report) *Problem {
	typ, ok := kindTypes[report.Kind]
	if !ok {
		typ = serverInternal
	}
	problem := newProblem(typ, "%s", report.Text)
	for _, part := range report.Parts {
		sub := problemOfReport(&failure.Report{Kind: part.Kind, Text: part.Public})
		sub.Status, sub.Identifier = 0, &part.Identifier
		problem.Subproblems = append(problem.Subproblems, *sub)
	}
	return problem
}

// seconds writes a delay as Retry-After has it: whole seconds, at least one,
// and never a date, which some clients cannot read.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int((d+time.Second-1)/time.Second)))
}
