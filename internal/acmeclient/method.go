package acmeclient

import (
	"context"
	"errors"
	"fmt"

	"github.com/mholt/acmez/v3/acme"

	"chancery/internal/identifier"
)

// Method says how control of the names is proved. One field is set.
type Method struct {
	HTTP    string `json:"http,omitempty"`     // the address, [HOST]:PORT, where http-01 is answered
	TLS     string `json:"tls,omitempty"`      // the address, [HOST]:PORT, where tls-alpn-01 is answered
	DNSExec string `json:"dns_exec,omitempty"` // the command that sets and removes TXT records for dns-01
}

// ErrMethod is wrapped when the names cannot be proved by the method.
var ErrMethod = errors.New("the method does not fit")

// Check reports whether names can be proved by the method: wildcards need DNS
// (RFC 8555 §7.1.3), addresses cannot have it (RFC 8738 §7). The error wraps
// ErrMethod.
func (m Method) Check(names []identifier.Identifier) error {
	for _, name := range names {
		switch {
		case name.Type == identifier.URI, name.Type == identifier.Email:
			return fmt.Errorf("%w: ACME gives no certificates for %s; give a token that vouches for it, with --token", ErrMethod, name)
		case name.IsWildcard() && m.DNSExec == "":
			return fmt.Errorf("%w: the wildcard %s can only be validated by DNS; give --dns-exec CMD", ErrMethod, name.Value)
		case name.Type == identifier.IP && m.DNSExec != "":
			return fmt.Errorf("%w: the address %s cannot be validated by DNS; give --http or --tls", ErrMethod, name.Value)
		}
	}
	return nil
}

// solver answers challenges of one type.
type solver interface {
	method() string
	present(context.Context, acme.Challenge) error
	cleanUp(context.Context, acme.Challenge) error
	close() error
}

func (m Method) solver(names []identifier.Identifier) (solver, error) {
	if err := m.Check(names); err != nil {
		return nil, err
	}
	switch {
	case m.DNSExec != "":
		return dnsSolver{m.DNSExec}, nil
	case m.TLS != "":
		return newTLSSolver(m.TLS), nil
	default:
		return newHTTPSolver(m.HTTP), nil
	}
}
