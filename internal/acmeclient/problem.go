package acmeclient

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"chancery/client"
)

// Error is a failure with what a person can do about it.
type Error struct {
	op   string
	err  error
	hint string
}

// RetryAfter is when the server wants to be asked again; 0 when it did not say.
func (e *Error) RetryAfter() time.Duration {
	if problem, ok := errors.AsType[*client.Problem](e.err); ok {
		return problem.RetryAfter()
	}
	return 0
}

// Error reads "couldn't OP: CAUSE". Of a problem document it gives the detail,
// the type and the subproblems.
func (e *Error) Error() string { return "couldn't " + e.op + ": " + plain(e.err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.err }

// Hint is the remedy, or "".
func (e *Error) Hint() string { return e.hint }

// explain names the operation that failed, once, and adds a remedy where one
// is known. explain(op, nil) is nil.
func explain(op string, err error) error {
	if err == nil {
		return nil
	}
	if _, done := errors.AsType[*Error](err); done {
		return err
	}
	return &Error{op: op, err: err, hint: remedy(err)}
}

// problemOf finds the problem document in an error, which the ACME library
// wraps by value or by reference.
func problemOf(err error) (acme.Problem, bool) {
	if problem, ok := errors.AsType[acme.Problem](err); ok {
		return problem, true
	}
	if problem, ok := errors.AsType[*acme.Problem](err); ok && problem != nil {
		return *problem, true
	}
	return acme.Problem{}, false
}

func isProblem(err error, types ...string) bool {
	problem, ok := problemOf(err)
	for _, typ := range types {
		if ok && problem.Type == typ {
			return true
		}
	}
	return false
}

// plain is an error without the layers of the libraries below.
func plain(err error) string {
	if problem, ok := problemOf(err); ok {
		return describe(problem)
	}
	if problem, ok := errors.AsType[*client.Problem](err); ok {
		return problem.Error()
	}
	if request, ok := errors.AsType[*url.Error](err); ok {
		return request.Err.Error()
	}
	return err.Error()
}

func describe(problem acme.Problem) string {
	typ := strings.TrimPrefix(problem.Type, acme.ProblemTypeNamespace)
	var text strings.Builder
	if problem.Detail == "" {
		fmt.Fprintf(&text, "the server says %s", typ)
	} else {
		fmt.Fprintf(&text, "%s (%s)", problem.Detail, typ)
	}
	for _, part := range problem.Subproblems {
		fmt.Fprintf(&text, "\n  %s: %s", part.Identifier.Value, describe(part.Problem))
	}
	return text.String()
}

// remedy is what to do about an error, or "".
func remedy(err error) string {
	if problem, ok := problemOf(err); ok {
		return remedies[strings.TrimPrefix(problem.Type, acme.ProblemTypeNamespace)]
	}
	hostname, isHostname := errors.AsType[x509.HostnameError](err)
	switch {
	case isType[x509.UnknownAuthorityError](err):
		return "give the CA's root certificate with --root FILE; a Chancery server offers it at /root.pem, compare its fingerprint with the operator's"
	case isHostname:
		return fmt.Sprintf("the server's certificate is not for %s; name the server in --server as its certificate does", hostname.Host)
	case isType[x509.CertificateInvalidError](err):
		return "compare the clocks of this machine and the server's"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there; is the server running, and is --server right?"
	case errors.Is(err, context.DeadlineExceeded):
		return "--timeout allows more time"
	}
	return ""
}

func isType[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// remedies are hints by the type of the problem.
var remedies = map[string]string{
	"externalAccountRequired": "give --eab-kid and --eab-hmac; on the CA, \"chancery eab create\" makes them",
	"userActionRequired":      "--accept-terms agrees to the server's terms of service",
	"connection":              "the CA must reach this machine under that name: look at DNS, at firewalls, and at the port it connects to",
	"dns":                     "the CA must find that name: look at the resolvers it uses",
	"rejectedIdentifier":      "the CA's policy decides which names it gives; ask its operator",
	"unsupportedIdentifier":   "the server gives no certificates for names of this type",
	"rateLimited":             "wait before trying again",
	"alreadyRevoked":          "there is nothing left to do",
}
