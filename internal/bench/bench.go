// Package bench puts an ACME server (RFC 8555) under load and measures it. It
// is a client like any other: it knows nothing of the server but its directory,
// answers the server's validations itself, and orders each certificate for
// names that were not seen before.
//
// It promises that an order's latency runs from the moment it was meant to
// begin until its certificate is downloaded, and that whatever is needed before
// (accounts, keys, connections, the first nonces) lies outside the measured
// time. It keeps no certificate, and it revokes none.
package bench

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"time"
)

// The challenge types that can be answered.
const (
	HTTP01    = "http-01"
	DNS01     = "dns-01"
	TLSALPN01 = "tls-alpn-01"
)

// Config says which server is put under which load.
type Config struct {
	Server    string         // the directory's URL, or that of a server that has it at a usual place
	Roots     *x509.CertPool // what the server's certificate must chain to; nil for the system's
	UserAgent string
	EAB       EAB    // for the accounts; the zero value for none
	Profile   string // asked for in orders; "" for none

	Clients  int           // who work at once, or with Rate at most
	Accounts int           // shared evenly by the clients
	Names    int           // in each order
	Count    int           // orders; 0 for no limit
	For      time.Duration // new orders begin that long; 0 for no limit
	Rate     float64       // orders that are to begin each second; 0: each client begins one when it has ended the one before
	Timeout  time.Duration // of an order

	Challenge string // HTTP01, DNS01 or TLSALPN01
	Domain    string // names are made below it; with a network as in 127.0.0.0/8, addresses in it
	HTTP      string // HOST:PORT to answer http-01 at
	TLS       string // HOST:PORT to answer tls-alpn-01 at
	DNS       string // HOST:PORT of a DNS server that has an answer for every name; "" for none

	PID int // of the server's process, to measure it; 0 for none

	Report func(Snapshot) // called a few times a second while the load lasts, never at the same time; may be nil
	Now    func() time.Time
	Rand   io.Reader // used by several goroutines at once
}

// EAB is an external account binding (RFC 8555 §7.3.4).
type EAB struct {
	KeyID string
	Key   []byte
}

// Check finds what is wrong with a configuration before anything is done.
func (c *Config) Check() error {
	names, err := newNamer(c.Domain, c.Names, 0)
	switch {
	case c.Server == "":
		return errors.New("the server is missing")
	case c.Clients < 1 || c.Accounts < 1 || c.Names < 1:
		return errors.New("clients, accounts and names must be 1 or more")
	case c.Count < 0 || c.For < 0 || c.Rate < 0:
		return errors.New("count, time and rate can't be negative")
	case c.Count == 0 && c.For == 0:
		return errors.New("the load has no end: give a count or a time")
	case c.Timeout <= 0:
		return errors.New("the timeout of an order must be more than nothing")
	case (c.EAB.KeyID == "") != (len(c.EAB.Key) == 0):
		return errors.New("an external account binding has a key identifier and a key")
	case err != nil:
		return err
	}
	return c.checkChallenge(names)
}

func (c *Config) checkChallenge(names *namer) error {
	atOnce := c.Names
	switch c.Challenge {
	case HTTP01:
	case TLSALPN01:
		atOnce *= c.Clients // what is shown for a name is for one order only
	case DNS01:
		switch {
		case c.DNS == "":
			return errors.New("dns-01 needs an address for the DNS server")
		case names.network.IsValid():
			return errors.New("addresses can't be proven by dns-01 (RFC 8738 §7)")
		}
	default:
		return fmt.Errorf("there is no challenge type %q; choose %s, %s or %s", c.Challenge, HTTP01, DNS01, TLSALPN01)
	}
	if !names.enough(atOnce) {
		return fmt.Errorf("%s has too few addresses: %d are in use at once", c.Domain, atOnce)
	}
	return nil
}

// Run makes the load and returns what was measured. When ctx is done it ends
// early: orders in flight are given up and count as nothing. An error means
// that nothing was measured.
func Run(ctx context.Context, c Config) (*Result, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	l, err := newLoad(&c)
	if err != nil {
		return nil, err
	}
	answering, err := startAnswering(ctx, &c, l.answers)
	if err != nil {
		return nil, err
	}
	defer answering.close()
	defer l.close()
	if err := l.prepare(ctx); err != nil {
		return nil, err
	}
	return l.run(ctx)
}
