// Package failure holds the one error type that crosses package borders in
// Chancery. It says which operation failed, of what kind the failure is, why,
// and what the client may be told. Doors map kinds to their protocol at one
// place each; nothing else looks at kinds. It does not log, and it knows no
// protocol.
package failure

import (
	"errors"
	"fmt"
	"time"

	"chancery/internal/identifier"
)

// Kind sorts failures by what the one who asked can do about them.
type Kind uint8

// The kinds. The zero value is Internal, so that an error nobody classified
// is never blamed on the client.
const (
	Internal          Kind = iota // ours; the cause goes to the log only
	Unavailable                   // ours and passing: ask again after RetryAfter
	Malformed                     // the request cannot be understood
	Unauthorized                  // the requester may not do this, or a validation found a wrong answer
	NotFound                      // there is no such thing, or it is not the requester's
	Conflict                      // another request has already changed the state
	NotReady                      // the thing is not yet, or no longer, in a state that allows this
	BadCSR                        // the certificate signing request is unacceptable
	BadKey                        // the public key is weak, exotic or known to be compromised
	Rejected                      // policy forbids an identifier; Public names the rule
	Unsupported                   // an identifier of a type that is not served
	BadProfile                    // there is no such profile, or the requester may not use it
	AlreadyRevoked                // the certificate is revoked
	BadReason                     // the revocation reason is not accepted
	RateLimited                   // too many requests: ask again after RetryAfter
	Connection                    // a validation could not reach its target
	DNS                           // a validation's DNS lookup failed
	TLS                           // a validation's TLS handshake failed
	IncorrectResponse             // a validation's target answered something else than expected
	CAA                           // a CAA record forbids issuance
	BadAttestation                // an attestation statement does not verify
)

// Error is a failure with all that the one who handles it needs. Only Public
// and Parts may be shown to a client; they carry no stack, no SQL and no bytes
// fetched from a third party.
type Error struct {
	Op         string        // the operation: "create order"
	Kind       Kind          // what the client can do about it
	Public     string        // what was expected, what was found, the remedy
	Err        error         // the cause, for the log; may be nil
	RetryAfter time.Duration // when to ask again; 0 when that would not help
	Parts      []Part        // failures of single identifiers; Public then sums them up
}

// Part is the failure of one identifier among several.
type Part struct {
	Identifier identifier.Identifier `json:"identifier"`
	Kind       Kind                  `json:"kind"`
	Public     string                `json:"text"`
}

// New returns a failure whose message the client may see.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Public: fmt.Sprintf(format, args...)}
}

// Wrap adds an operation to err and keeps the kind and the public message of
// the failure inside it, if there is one. Wrap(op, nil) is nil.
func Wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	wrapped := &Error{Op: op, Err: err}
	if inner, ok := errors.AsType[*Error](err); ok {
		wrapped.Kind, wrapped.Public = inner.Kind, inner.Public
		wrapped.RetryAfter, wrapped.Parts = inner.RetryAfter, inner.Parts
	}
	return wrapped
}

// Because sets the cause and returns e, for use where e is made.
func (e *Error) Because(err error) *Error {
	e.Err = err
	return e
}

// Error is the whole story for the log: "couldn't OP: MESSAGE: CAUSE".
func (e *Error) Error() string {
	text := ""
	if e.Op != "" {
		text = "couldn't " + e.Op + ": "
	}
	switch {
	case e.Err != nil && e.Op != "": // made by Wrap: the cause repeats Public
		return text + e.Err.Error()
	case e.Err != nil:
		return text + e.Public + ": " + e.Err.Error()
	default:
		return text + e.Public
	}
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the outermost failure in err's chain, and
// Internal when there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// Report is what a client may see of a failure, in the form in which it is
// stored with an order or an authorization.
type Report struct {
	Kind  Kind   `json:"kind"`
	Text  string `json:"text"`
	Parts []Part `json:"parts,omitempty"`
}

// ReportOf returns what a client may see of err. An error that carries no
// failure gives an Internal report that says nothing more.
func ReportOf(err error) *Report {
	if e, ok := errors.AsType[*Error](err); ok && e.Public != "" {
		return &Report{Kind: e.Kind, Text: e.Public, Parts: e.Parts}
	}
	return &Report{Kind: Internal, Text: "an internal error; the server's log says more"}
}

// Error turns a stored report back into a failure.
func (r *Report) Error() *Error {
	return &Error{Kind: r.Kind, Public: r.Text, Parts: r.Parts}
}
