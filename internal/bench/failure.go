package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// problem is what a server answered instead of what was asked for: a problem
// document (RFC 8555 §6.7), or another answer that is no success.
type problem struct {
	Type        string    `json:"type"`
	Detail      string    `json:"detail"`
	Subproblems []problem `json:"subproblems"`

	status     int
	retryAfter time.Duration // 0 when the server did not say
}

const acmeNamespace = "urn:ietf:params:acme:error:"

// kind is the type of the problem without the namespace of ACME; an answer
// without a type is known by its status.
func (p *problem) kind() string {
	if p.Type == "" || p.Type == "about:blank" {
		return fmt.Sprintf("http %d", p.status)
	}
	return strings.TrimPrefix(p.Type, acmeNamespace)
}

func (p *problem) Error() string {
	text := p.kind()
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	for _, part := range p.Subproblems {
		text += "; " + part.Error()
	}
	return text
}

// outcome is an order or an authorization that ended badly without a reason.
type outcome struct{ what, status string }

func (o *outcome) Error() string { return o.what + " " + o.status }

// errAnswer is in the chain of what could not be understood.
var errAnswer = errors.New("bad answer")

// kindOf sorts the failures of orders: by the type of the ACME problem, by
// "network" and what went wrong there, or by what the server did wrong.
func kindOf(err error) string {
	if p, ok := errors.AsType[*problem](err); ok {
		return p.kind()
	}
	if o, ok := errors.AsType[*outcome](err); ok {
		return o.Error()
	}
	switch {
	case errors.Is(err, errAnswer):
		return "bad answer"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	default:
		return "network " + networkKind(err)
	}
}

func networkKind(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "closed"
	case isType[*net.DNSError](err):
		return "dns"
	case isType[*tls.CertificateVerificationError](err), isType[tls.RecordHeaderError](err), isType[tls.AlertError](err),
		isType[x509.UnknownAuthorityError](err), isType[x509.HostnameError](err):
		return "tls"
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "timeout"
	}
	return "other"
}

func isType[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// isNetwork reports whether the server could not be reached.
func isNetwork(err error) bool { return strings.HasPrefix(kindOf(err), "network ") }
