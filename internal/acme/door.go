// Package acme is the ACME door: RFC 8555 with RFC 8737 (tls-alpn-01), RFC
// 8738 (IP addresses), RFC 9444 (subdomains), RFC 9773 (renewal information),
// the profiles extension, dns-account-01 and dns-persist-01. It proves who asks for which
// names and hands requests to the road; it builds no certificates and keeps
// no state of its own beside caches and the validations under way.
package acme

import (
	"context"
	"crypto"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"chancery/internal/ca"
	"chancery/internal/failure"
	"chancery/internal/limits"
	"chancery/internal/policy"
	"chancery/internal/store"
	"chancery/internal/validation"
)

// Config is what an operator can set about the door. Durations are whole
// spans; the caller fills in defaults.
type Config struct {
	ExternalURL           string   // scheme, host and port that clients use, without a path
	FormerURLs            []string // earlier ones, still answered
	DefaultProfile        string
	EABRequired           bool
	TermsOfService        string // URL; "" for none
	Website               string
	CAAIdentities         []string
	CAA                   bool // check CAA records before issuing
	OrderLifetime         time.Duration
	AuthorizationLifetime time.Duration // how long a proof can be used
	MaxIdentifiers        int
	FinalizeWait          time.Duration // how long finalize waits for the certificate
	RenewalPoll           time.Duration // how often clients are to ask when to renew
	Challenges            []string      // the methods offered
	SubdomainAuth         bool          // RFC 9444 is served
	Underscores           bool          // DNS names can have underscores, as far as policy allows
	PersistIssuers        []string      // issuer domain names of dns-persist-01; none: not offered
	ValidationWait        time.Duration // how long the client waits for the outcome
	ValidationTimeout     time.Duration // of one attempt
	Attempts              int
	RetryInterval         time.Duration
	MaxValidations        int     // at once
	NonceReject           float64 // the share of good nonces refused, for testing clients
}

// Validator proves control of names.
type Validator interface {
	Validate(ctx context.Context, request validation.Request) validation.Result
	CheckCAA(ctx context.Context, request validation.CAARequest) (validation.Transcript, *failure.Error)
}

// Windows says when certificates are to be renewed (RFC 9773 §4.2), and which
// page says why; "" for none.
type Windows interface {
	Window(ctx context.Context, c *store.Certificate, now time.Time) (start, end time.Time, explanation string)
}

// Deps is what a Door is made of. All fields are required unless they say
// otherwise.
type Deps struct {
	Config    Config
	Store     store.Store
	Authority *ca.Authority
	Validator Validator
	Grants    policy.Grants
	Limits    *limits.Limits
	Nonces    NonceSource
	Windows   Windows
	CheckKey  func(crypto.PublicKey) error // refuses weak keys
	Now       func() time.Time
	Rand      io.Reader
	Log       *slog.Logger
	Auditor   ca.Auditor
	// Annotate adds a fact to the log line of the request; may be nil.
	Annotate func(ctx context.Context, key, value string)
	// Validated is told of each attempt; may be nil.
	Validated func(method, outcome string, took time.Duration)
}

// Door serves ACME. Its methods may be called by any number of goroutines.
type Door struct {
	deps     Deps
	settings atomic.Pointer[settings]
	routes   http.Handler
	accounts accountCache
	issued   issuedCache
	issuers  issuerCache

	validations validations
	work        sync.WaitGroup // attempts and issuances under way; Run waits for them
}

// settings are what Reconfigure replaces as one.
type settings struct {
	Config
	validator Validator
	bases     []string // ExternalURL, then FormerURLs
}

// New returns the door; Run must be called for it to go on with validations
// in the background.
func New(deps Deps) (*Door, error) {
	if deps.Config.ExternalURL == "" || deps.Config.MaxValidations < 1 {
		return nil, errors.New("couldn't open the ACME door: its configuration has no external URL or no room for validations")
	}
	d := &Door{deps: deps}
	d.issuers.load = deps.Store.Issuers
	d.validations.init(d, deps.Config.MaxValidations)
	d.Reconfigure(deps.Config, deps.Validator)
	d.routes = d.newRoutes()
	return d, nil
}

// Reconfigure replaces the configuration for all requests from now on. How
// many validations run at once stays as it was at the start.
func (d *Door) Reconfigure(config Config, validator Validator) {
	d.issuers.forget()
	d.settings.Store(&settings{
		Config: config, validator: validator,
		bases: append([]string{config.ExternalURL}, config.FormerURLs...),
	})
}

// ForgetAccount drops what is cached about an account that was changed by
// other ways than this door.
func (d *Door) ForgetAccount(id string) { d.accounts.forget(id) }

// ForgetAccounts drops what is cached about all accounts: other nodes have
// changed some.
func (d *Door) ForgetAccounts() { d.accounts.forgetAll() }

// ForgetIssuers drops what is cached about issuers: there are others.
func (d *Door) ForgetIssuers() { d.issuers.forget() }

// Handler serves all paths below /acme/.
func (d *Door) Handler() http.Handler { return d.routes }

// newID makes an identifier for a record.
func (d *Door) newID() (string, error) { return store.NewID(d.deps.Now(), d.deps.Rand) }

func (d *Door) annotate(ctx context.Context, key, value string) {
	if d.deps.Annotate != nil {
		d.deps.Annotate(ctx, key, value)
	}
}

func (d *Door) audit(ctx context.Context, action, accountID string, attrs ...slog.Attr) {
	d.deps.Auditor.Audit(ctx, action, append([]slog.Attr{slog.String("requester", "acme:"+accountID)}, attrs...)...)
}

// issuerCache remembers issuers; there are few, and what is known of one
// changes with the configuration only.
type issuerCache struct {
	load    func(context.Context) ([]store.Issuer, error)
	mu      sync.Mutex
	known   map[string]store.Issuer // guarded by mu; replaced, never changed
	changes uint64                  // guarded by mu; counts calls of forget
}

func (c *issuerCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = nil
	c.changes++
}

func (c *issuerCache) now() (known map[string]store.Issuer, changes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known, c.changes
}

// get returns the issuer of that id, or store.ErrNotFound.
func (c *issuerCache) get(ctx context.Context, id string) (store.Issuer, error) {
	known, changes := c.now()
	if issuer, ok := known[id]; ok {
		return issuer, nil
	}
	issuers, err := c.load(ctx)
	if err != nil {
		return store.Issuer{}, err
	}
	known = make(map[string]store.Issuer, len(issuers))
	for _, issuer := range issuers {
		known[issuer.ID] = issuer
	}
	c.mu.Lock()
	if changes == c.changes { // else what was read may be of before the change
		c.known = known
	}
	c.mu.Unlock()
	if issuer, ok := known[id]; ok {
		return issuer, nil
	}
	return store.Issuer{}, store.ErrNotFound
}
