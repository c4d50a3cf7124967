// Package token is the token door: one signed token, one certificate. A
// provisioner proves by the token who asks and for which names; the holder of a
// certificate from here renews and revokes it by mutual TLS. All is JSON over
// HTTPS below /api/v1/, described by the OpenAPI document that the door serves.
//
// It verifies no tokens itself, builds no certificates, and keeps no state.
package token

import (
	"context"
	"crypto"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"chancery/internal/ca"
	"chancery/internal/limits"
	"chancery/internal/openapi"
	"chancery/internal/profile"
	"chancery/internal/provisioner"
	"chancery/internal/store"
)

// Name is the door's name in policy, profiles and records.
const Name = "token"

// Config is what an operator can set about the door.
type Config struct {
	ExternalURL    string // scheme, host and port that clients use, without a path
	DefaultProfile string
	Provisioners   *provisioner.Set
}

// Store is what the door reads and writes.
type Store interface {
	Issuers(ctx context.Context) ([]store.Issuer, error)
	Certificate(ctx context.Context, key store.CertificateKey) (store.Certificate, error)
	ListCertificates(ctx context.Context, query store.CertificateQuery) ([]store.Certificate, error)
	ReplacedBy(ctx context.Context, key store.CertificateKey) (store.CertificateKey, error)
	Revoke(ctx context.Context, key store.CertificateKey, revocation store.Revocation) error
}

// Authority is the road.
type Authority interface {
	Issue(ctx context.Context, request ca.Request) (store.Certificate, error)
	Profiles() map[string]*profile.Profile
}

// Windows says when certificates are to be renewed (RFC 9773 §4.2), and which
// page says why; "" for none.
type Windows interface {
	Window(ctx context.Context, c *store.Certificate, now time.Time) (start, end time.Time, explanation string)
}

// Deps is what a Door is made of.
type Deps struct {
	Config    Config
	Store     Store
	Authority Authority
	Windows   Windows
	Limits    *limits.Limits
	// ClientCertificate is the certificate of this CA that the client shows,
	// good now. Its errors are failures that say which check failed.
	ClientCertificate func(r *http.Request) (store.Certificate, error)
	// Reason reads the name or number of a revocation reason.
	Reason   func(text string) (int, error)
	CheckKey func(crypto.PublicKey) error // refuses weak keys
	Now      func() time.Time
	Auditor  ca.Auditor
	// Annotate adds a fact to the log line of the request; "resource" names
	// what was asked for.
	Annotate func(ctx context.Context, key, value string)
	// Routes are those that the document describes besides the door's own, and
	// Version is that of the program.
	Routes  []openapi.Route
	Version string
}

// Door serves tokens. Its methods may be called by any number of goroutines.
type Door struct {
	deps   Deps
	config atomic.Pointer[settings]
	routes http.Handler
}

// settings are what Reconfigure replaces as one.
type settings struct {
	Config
	document func() ([]byte, error) // made once
}

// New returns the door.
func New(deps Deps) *Door {
	d := &Door{deps: deps}
	d.Reconfigure(deps.Config)
	d.routes = d.newRoutes()
	return d
}

// Reconfigure replaces the configuration for all requests from now on.
func (d *Door) Reconfigure(config Config) {
	d.config.Store(&settings{config, sync.OnceValues(func() ([]byte, error) { return d.describe(config.ExternalURL) })})
}

// Handler serves all paths below /api/v1/.
func (d *Door) Handler() http.Handler { return d.routes }

func (d *Door) audit(ctx context.Context, action string, attrs ...slog.Attr) {
	d.deps.Auditor.Audit(ctx, action, attrs...)
}
