package server

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"chancery/internal/acme"
	"chancery/internal/ca"
	"chancery/internal/config"
	"chancery/internal/identifier"
	"chancery/internal/policy"
	"chancery/internal/store"
)

// selfDoor is the door by which the CA asks itself.
const selfDoor = policy.SelfDoor

// selfProfile is the profile of the CA's own certificate.
const selfProfile = "tls-server"

// authority is what ownCertificate needs of the road.
type authority interface {
	Allows(ctx context.Context, q policy.Question) error
	Issue(ctx context.Context, req ca.Request) (store.Certificate, error)
}

// ownCertificate is the certificate of the HTTPS listener. The CA issues it to
// itself and keeps its key in memory only.
type ownCertificate struct {
	authority authority
	chainOf   func(issuerID string) [][]byte // DER of what is sent after the leaf
	now       func() time.Time
	log       *slog.Logger
	renewed   func(*x509.Certificate) // told of each; may be nil
	windows   acme.Windows            // whether it is to be renewed early; may be nil
	names     atomic.Pointer[[]identifier.Identifier]
	current   atomic.Pointer[tls.Certificate]
	issued    atomic.Pointer[store.Certificate] // the record of current
	wake      chan struct{}                     // holds a token when it is to be renewed early
}

func newOwnCertificate(authority authority, chainOf func(issuerID string) [][]byte, now func() time.Time, log *slog.Logger) *ownCertificate {
	return &ownCertificate{authority: authority, chainOf: chainOf, now: now, log: log, wake: make(chan struct{}, 1)}
}

// get is tls.Config's GetCertificate.
func (o *ownCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return o.current.Load(), nil
}

// setNames changes what the certificate is for; run renews it then.
func (o *ownCertificate) setNames(names []identifier.Identifier) {
	if before := o.names.Swap(&names); before != nil && !slices.Equal(*before, names) {
		o.renewSoon()
	}
}

// revoked is told of certificates that were revoked; run renews when this is one.
func (o *ownCertificate) revoked(certificates []store.CertificateKey) {
	if issued := o.issued.Load(); issued != nil && slices.Contains(certificates, issued.CertificateKey) {
		o.renewSoon()
	}
}

func (o *ownCertificate) renewSoon() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// renew issues a new certificate.
func (o *ownCertificate) renew(ctx context.Context) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("couldn't make a key: %w", err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("couldn't encode the key: %w", err)
	}
	names, err := o.allowed(ctx)
	if err != nil {
		return err
	}
	issued, err := o.authority.Issue(ctx, ca.Request{
		Door: selfDoor, Identifiers: names, PublicKey: spki, Profile: selfProfile,
	})
	if err != nil {
		return err
	}
	return o.use(issued, key)
}

func (o *ownCertificate) use(issued store.Certificate, key crypto.Signer) error {
	leaf, err := x509.ParseCertificate(issued.DER)
	if err != nil {
		return fmt.Errorf("couldn't read the new certificate: %w", err)
	}
	o.current.Store(&tls.Certificate{
		Certificate: append([][]byte{issued.DER}, o.chainOf(issued.IssuerID)...), PrivateKey: key, Leaf: leaf,
	})
	o.issued.Store(&issued)
	if o.renewed != nil {
		o.renewed(leaf)
	}
	return nil
}

// allowed leaves out names that the CA may not certify, such as localhost
// under a root with name constraints.
func (o *ownCertificate) allowed(ctx context.Context) ([]identifier.Identifier, error) {
	var allowed []identifier.Identifier
	var refusals error
	for _, name := range *o.names.Load() {
		err := o.authority.Allows(ctx, policy.Question{Door: selfDoor, Profile: selfProfile, Identifiers: []identifier.Identifier{name}})
		if err != nil {
			refusals = errors.Join(refusals, err)
			continue
		}
		allowed = append(allowed, name)
	}
	if len(allowed) == 0 {
		return nil, fmt.Errorf("none of the server's names may be certified: %w", refusals)
	}
	return allowed, nil
}

// due reports whether two thirds of the certificate's life are over, or an
// incident wants it renewed.
func (o *ownCertificate) due(ctx context.Context) bool {
	leaf, now := o.current.Load().Leaf, o.now()
	if o.windows != nil {
		if start, _, _ := o.windows.Window(ctx, o.issued.Load(), now); !now.Before(start) {
			return true
		}
	}
	return !now.Before(leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 2 / 3))
}

// lookEvery is how often run looks at the clock, rather than setting a timer
// that a sleeping machine would miss.
const lookEvery = time.Minute

// run renews the certificate in time until ctx is done. A failure is tried
// again; there is a third of the certificate's life left for that.
func (o *ownCertificate) run(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	early := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-o.wake:
			early = true
		case <-ticker.C:
		}
		if !early && !o.due(ctx) {
			continue
		}
		if err := o.renew(ctx); err != nil {
			o.log.Error("couldn't renew the server's own certificate; will try again", "error", err)
			continue
		}
		early = false
	}
}

// ownNames are what the server's own certificate is for: what is configured,
// the hosts of earlier URLs, and this machine by its own names when it listens
// for itself.
func ownNames(c *config.Config, listening net.Addr) []identifier.Identifier {
	names := c.ServerNames()
	add := func(host string) {
		if name, err := identifier.Guess(host); err == nil {
			names = append(names, name)
		}
	}
	for _, former := range c.FormerURLs {
		if u, err := url.Parse(former); err == nil {
			add(u.Hostname())
		}
	}
	if addr, err := netip.ParseAddrPort(listening.String()); err == nil {
		if addr.Addr().IsLoopback() || addr.Addr().IsUnspecified() {
			add("localhost")
			add("127.0.0.1")
			add("::1")
		}
	}
	return identifier.Normalize(names)
}
