// Package validation proves control of a name: it asks the network the
// question of one ACME challenge and says whether the answer proves it, and if
// not, why. Whatever the network answers, an attempt ends within its timeout,
// uses bounded memory, reaches no address that the fence forbids, and leaves a
// transcript that never holds a fetched page.
//
// It knows nothing of HTTP handlers, stores or JWS; it neither retries an
// attempt nor remembers one. Deciding which method a name may use, and when to
// try again, is the caller's.
package validation

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
)

// Method is a way to prove control: an ACME challenge type.
type Method string

// The methods.
const (
	HTTP01       Method = "http-01"        // RFC 8555 §8.3
	DNS01        Method = "dns-01"         // RFC 8555 §8.4
	TLSALPN01    Method = "tls-alpn-01"    // RFC 8737
	DNSAccount01 Method = "dns-account-01" // draft-ietf-acme-dns-account-label-03
	DNSPersist01 Method = "dns-persist-01" // draft-ietf-acme-dns-persist, -00 to -02
)

// Methods lists all of them.
func Methods() []Method {
	return []Method{HTTP01, DNS01, TLSALPN01, DNSAccount01, DNSPersist01}
}

// Proves reports whether the method can prove control of id, which may be a
// wildcard: an address is never proven by DNS (RFC 8738 §7), a wildcard never
// by connecting to a host (RFC 8555 §7.1.4).
func (m Method) Proves(id identifier.Identifier) bool {
	byDNS := m == DNS01 || m == DNSAccount01 || m == DNSPersist01
	switch {
	case !slices.Contains(Methods(), m):
		return false
	case id.Type == identifier.IP:
		return !byDNS
	case id.IsWildcard():
		return byDNS
	default:
		return id.Type == identifier.DNS
	}
}

// Request is one challenge to try.
type Request struct {
	Method     Method
	Identifier identifier.Identifier // what the authorization is for, without "*."
	Wildcard   bool                  // the authorization is for *.Identifier
	Token      string                // the challenge's; dns-persist-01 has no use for it
	Thumbprint string                // RFC 7638, base64url, of the account key when the client responded
	AccountURL string                // exactly as the client knows it

	// PastThumbprints are those of keys the account had before: a
	// dns-persist-01 record made under them still counts (draft -02).
	PastThumbprints []string
}

// Config says how to look and what not to touch. The zero value works: the
// system's resolvers, ports 80 and 443, nothing allowed beyond the fence's
// built-in rules.
type Config struct {
	HTTPPort int           // http-01 connects here; 0 is 80
	TLSPort  int           // tls-alpn-01 connects here; 0 is 443
	Timeout  time.Duration // of a whole attempt over all addresses and redirects; 0 is 5 s

	Resolvers     []string            // HOST or HOST:PORT, asked in order; none: as the host does
	ZoneResolvers map[string][]string // resolvers of a zone and all below it; the longest zone wins

	Allow []netip.Prefix // exceptions to the built-in denials and to Deny
	Deny  []netip.Prefix // never reached, beyond the built-in denials
	Only  []netip.Prefix // when not empty, nothing outside is reached

	// OwnListeners returns the CA's own listening addresses, which are never a
	// target. It is asked at each dial.
	OwnListeners func() []netip.AddrPort

	CAA           bool     // check CAA records after each proof (RFC 8659)
	CAAIdentities []string // the issuer domain names that CAA records may name

	PersistIssuers    []string // the issuer domain names that dns-persist-01 records may name
	PersistHashPrefix string   // accountHashPrefix of draft -02; "" accepts account URLs only

	Now func() time.Time // nil is time.Now
}

// Result is the outcome of one attempt.
type Result struct {
	Err        *failure.Error // nil when control is proven; its Public is the gist of the transcript
	Final      bool           // trying again cannot help
	Transcript Transcript
	ValidUntil time.Time // when not zero, the proof itself ends then (persistUntil)
}

// Validator makes attempts. It is safe for concurrent use and keeps nothing
// between attempts but the parsed system resolver files.
type Validator struct {
	config   Config
	resolver *resolver
	fence    fence
}

// New checks the configuration and fills in the defaults.
func New(config Config) (*Validator, error) {
	if config.HTTPPort == 0 {
		config.HTTPPort = 80
	}
	if config.TLSPort == 0 {
		config.TLSPort = 443
	}
	if config.Timeout == 0 {
		config.Timeout = 5 * time.Second
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	for _, port := range []int{config.HTTPPort, config.TLSPort} {
		if port < 1 || port > 65535 {
			return nil, fmt.Errorf("couldn't set up validation: there is no port %d; use 1 to 65535", port)
		}
	}
	if config.Timeout < 0 {
		return nil, fmt.Errorf("couldn't set up validation: the timeout %v is negative", config.Timeout)
	}
	resolver, err := newResolver(config.Resolvers, config.ZoneResolvers)
	if err != nil {
		return nil, fmt.Errorf("couldn't set up validation: %w", err)
	}
	return &Validator{
		config:   config,
		resolver: resolver,
		fence:    newFence(config.Allow, config.Deny, config.Only, config.OwnListeners),
	}, nil
}

// attempt is the state of one Validate or CheckCAA call, owned by its
// goroutine.
type attempt struct {
	*Validator
	Request
	log        *log
	final      bool      // see Result.Final
	validUntil time.Time // see Result.ValidUntil
}

func (v *Validator) newAttempt(req Request) *attempt {
	return &attempt{Validator: v, Request: req, log: newLog(v.config.Now)}
}

// Validate makes one attempt, and when that succeeds and CAA is on, checks
// CAA too. It returns within the configured timeout. When ctx is cancelled
// before, nothing is known: the failure is of kind Unavailable.
func (v *Validator) Validate(ctx context.Context, req Request) Result {
	limited, cancel := context.WithTimeout(ctx, v.config.Timeout)
	defer cancel()
	a := v.newAttempt(req)
	err := a.run(limited)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		a.final = false
		err = failure.New(failure.Unavailable, "the validation of %s was cut short", a.name()).Because(err)
	}
	a.log.finish(err)
	return Result{Err: err, Final: a.final, Transcript: a.log.transcript, ValidUntil: a.validUntil}
}

func (a *attempt) run(ctx context.Context) *failure.Error {
	asked := a.Identifier
	if a.Wildcard {
		asked.Value = "*." + asked.Value
	}
	if !a.Method.Proves(asked) {
		return a.finally(failure.New(failure.Malformed, "%.40q cannot prove control of %s", a.Method, asked))
	}
	if err := a.prove(ctx); err != nil {
		return err
	}
	return a.checkCAA(ctx)
}

func (a *attempt) prove(ctx context.Context) *failure.Error {
	switch a.Method {
	case HTTP01:
		return a.http01(ctx)
	case DNS01:
		return a.dns01(ctx)
	case TLSALPN01:
		return a.tlsalpn01(ctx)
	case DNSAccount01:
		return a.dnsaccount01(ctx)
	case DNSPersist01:
		return a.dnspersist01(ctx)
	}
	return a.finally(failure.New(failure.Malformed, "there is no validation method %.40q", a.Method))
}

// finally marks the failure as one that a retry cannot help.
func (a *attempt) finally(err *failure.Error) *failure.Error {
	a.final = true
	return err
}

// name is the identifier as text.
func (a *attempt) name() string { return a.Identifier.Value }

// KeyAuthorization is what an account answers a token with (RFC 8555 §8.1).
func KeyAuthorization(token, thumbprint string) string { return token + "." + thumbprint }

// DNSDigest is the TXT value that proves a key authorization by dns-01 and
// dns-account-01 (RFC 8555 §8.4).
func DNSDigest(keyAuthorization string) string {
	digest := sha256.Sum256([]byte(keyAuthorization))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

func (a *attempt) keyAuthorization() string { return KeyAuthorization(a.Token, a.Thumbprint) }

// sameName compares host names, which may end in a dot and come in any case.
func sameName(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}
