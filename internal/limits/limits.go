// Package limits bounds how often things happen: new accounts from an address,
// orders of an account or under a grant, failed validations of a name,
// certificates for a domain or for the same names. A single node counts in
// memory, so a restart forgets; several count in their store, exactly. It knows
// no protocol. What was counted and then did not happen, because the CA failed,
// is given back.
package limits

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/publicsuffix"

	"chancery/internal/duration"
	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/store"
)

// Config is the limits in force. A zero Rate sets none.
type Config struct {
	NewAccounts           Rate // from one source address
	NewAccountsPerNetwork Rate // from one IPv6 network of /48
	NewOrders             Rate // of one account
	FailedValidations     Rate // of one name by one account
	CertificatesPerDomain Rate // for names of one registered domain, or an address
	CertificatesPerSet    Rate // for exactly the same names
}

// The names of the limits, as in the configuration.
const (
	newAccounts           = "new_accounts"
	newAccountsPerNetwork = "new_accounts_per_network"
	newOrders             = "new_orders"
	failedValidations     = "failed_validations"
	certificatesPerDomain = "certificates_per_domain"
	certificatesPerSet    = "certificates_per_set"
	grantOrders           = "max_rate" // of a grant
)

// Preset returns the limits of that name: "off", or "letsencrypt" for those
// that Let's Encrypt publishes, so that staging behaves as production does.
func Preset(name string) Config {
	if name != "letsencrypt" {
		return Config{}
	}
	const week = 7 * 24 * time.Hour
	return Config{
		NewAccounts:           Rate{10, 3 * time.Hour},
		NewAccountsPerNetwork: Rate{500, 3 * time.Hour},
		NewOrders:             Rate{300, 3 * time.Hour},
		FailedValidations:     Rate{5, time.Hour},
		CertificatesPerDomain: Rate{50, week},
		CertificatesPerSet:    Rate{5, week},
	}
}

// rate is the limit of that name.
func (c *Config) rate(name string) Rate {
	switch name {
	case newAccounts:
		return c.NewAccounts
	case newAccountsPerNetwork:
		return c.NewAccountsPerNetwork
	case newOrders:
		return c.NewOrders
	case failedValidations:
		return c.FailedValidations
	case certificatesPerDomain:
		return c.CertificatesPerDomain
	case certificatesPerSet:
		return c.CertificatesPerSet
	}
	return Rate{}
}

// Limits counts. Its methods may be called by any number of goroutines. Those
// that fail for another reason than a limit do so with the store's error; they
// ask it nothing where no limit is set.
type Limits struct {
	counts counts
	log    *slog.Logger
	now    func() time.Time
	config atomic.Pointer[Config]
}

// New returns limits of a single node, which have counted nothing.
func New(config Config, now func() time.Time) *Limits {
	l := &Limits{counts: memory{newTable(maxKeys)}, log: slog.New(slog.DiscardHandler), now: now}
	l.Reconfigure(config)
	return l
}

// NewShared returns limits that all nodes of a store count together. What can't
// be counted or given back after the fact is logged.
func NewShared(config Config, now func() time.Time, counts store.Limits, log *slog.Logger) *Limits {
	l := &Limits{counts: shared{counts}, log: log, now: now}
	l.Reconfigure(config)
	return l
}

// Reconfigure replaces the limits for all that happens from now on.
func (l *Limits) Reconfigure(config Config) { l.config.Store(&config) }

// Taken is what was counted for one request. The zero value, and nil, is
// nothing.
type Taken struct {
	from  *Limits
	parts []part
}

// part is one event of one limit.
type part struct {
	key  key
	rate Rate
}

// Refund gives back what was counted, for a request that came to nothing. It
// does so also when the request has ended meanwhile. Further calls do nothing.
func (t *Taken) Refund(ctx context.Context) {
	if t == nil || len(t.parts) == 0 {
		return
	}
	if err := t.from.counts.refund(context.WithoutCancel(ctx), t.parts); err != nil {
		t.from.log.ErrorContext(ctx, "couldn't give back what was counted against a limit", "error", err)
	}
	t.parts = nil
}

// takeAll counts one event of each part, or of none: the error is then a
// failure of kind RateLimited.
func (l *Limits) takeAll(ctx context.Context, parts []part) (*Taken, error) {
	parts = inForce(parts)
	refused, wait, err := l.counts.take(ctx, parts, l.now())
	if err != nil {
		return nil, err
	}
	if refused >= 0 {
		return nil, parts[refused].exceeded(wait)
	}
	return &Taken{l, parts}, nil
}

// check reports, without counting, whether one more event of each is allowed.
func (l *Limits) check(ctx context.Context, parts []part) error {
	parts = inForce(parts)
	usage, err := l.counts.used(ctx, parts, l.now())
	if err != nil {
		return err
	}
	for i, of := range usage {
		if of.wait > 0 {
			return parts[i].exceeded(of.wait)
		}
	}
	return nil
}

// inForce leaves out those that have no limit, and what is there twice.
func inForce(parts []part) []part {
	var set []part
	for _, p := range parts {
		if p.rate.Count > 0 && !slices.Contains(set, p) {
			set = append(set, p)
		}
	}
	return set
}

func (p part) exceeded(wait time.Duration) error {
	what := map[string]string{
		newAccounts:           "new accounts from " + p.key.of,
		newAccountsPerNetwork: "new accounts from " + p.key.of,
		newOrders:             "new orders of this account",
		failedValidations:     "failed validations of " + p.key.more + " by this account",
		certificatesPerDomain: "certificates for " + p.key.of,
		certificatesPerSet:    "certificates for exactly these names",
		grantOrders:           "new orders under this grant",
	}[p.key.limit]
	setting := "limits." + p.key.limit
	if p.key.limit == grantOrders {
		setting = "the grant's max-rate"
	}
	wait = wait.Truncate(time.Second) + time.Second
	err := failure.New(failure.RateLimited, "too many %s: at most %s (%s); try again in %s", what, p.rate, setting, duration.Duration(wait))
	err.RetryAfter = wait
	return err
}

// Account counts a new account from a source address.
func (l *Limits) Account(ctx context.Context, source netip.Addr) (*Taken, error) {
	config, source := l.config.Load(), source.Unmap().WithZone("")
	parts := []part{{key{newAccounts, source.String(), ""}, config.NewAccounts}}
	if network, err := source.Prefix(48); err == nil && source.Is6() {
		parts = append(parts, part{key{newAccountsPerNetwork, network.String(), ""}, config.NewAccountsPerNetwork})
	}
	return l.takeAll(ctx, parts)
}

// Order is a new order.
type Order struct {
	AccountID string
	GrantID   string // "" for none
	MaxRate   Rate   // the grant's
	Names     []identifier.Identifier
	Unproven  []identifier.Identifier // those of Names that will have to be validated
	Renewal   bool                    // it replaces a certificate, so no limit holds
}

// Order counts a new order, and reports early what could not be proven or
// issued because of other limits.
func (l *Limits) Order(ctx context.Context, o Order) (*Taken, error) {
	config := l.config.Load()
	if o.Renewal {
		return nil, nil //nolint:nilnil // nothing is taken, which is said of nil
	}
	if err := l.check(ctx, append(failures(config, o.AccountID, o.Unproven), certificates(config, o.Names)...)); err != nil {
		return nil, err
	}
	parts := []part{{key{newOrders, o.AccountID, ""}, config.NewOrders}}
	if o.GrantID != "" {
		parts = append(parts, part{key{grantOrders, o.GrantID, ""}, o.MaxRate})
	}
	return l.takeAll(ctx, parts)
}

// Certificate counts a certificate that is about to be issued.
func (l *Limits) Certificate(ctx context.Context, names []identifier.Identifier, renewal bool) (*Taken, error) {
	if renewal {
		return nil, nil //nolint:nilnil // as above
	}
	return l.takeAll(ctx, certificates(l.config.Load(), names))
}

// Failed counts a validation that failed for good.
func (l *Limits) Failed(ctx context.Context, accountID string, name identifier.Identifier) {
	_, err := l.takeAll(ctx, failures(l.config.Load(), accountID, []identifier.Identifier{name}))
	if err != nil && failure.KindOf(err) != failure.RateLimited { // more than enough is enough
		l.log.ErrorContext(ctx, "couldn't count a failed validation", "error", err)
	}
}

func failures(config *Config, accountID string, names []identifier.Identifier) []part {
	parts := make([]part, 0, len(names))
	for _, name := range names {
		parts = append(parts, part{key{failedValidations, accountID, name.Base().Value}, config.FailedValidations})
	}
	return parts
}

func certificates(config *Config, names []identifier.Identifier) []part {
	if config.CertificatesPerSet.Count == 0 && config.CertificatesPerDomain.Count == 0 {
		return nil // spare the work below
	}
	names = identifier.Normalize(slices.Clone(names))
	texts, domains := make([]string, len(names)), make([]string, len(names))
	for i, name := range names {
		texts[i], domains[i] = name.String(), domainOf(name)
	}
	parts := []part{{key{certificatesPerSet, strings.Join(texts, " "), ""}, config.CertificatesPerSet}}
	slices.Sort(domains)
	for _, domain := range slices.Compact(domains) {
		parts = append(parts, part{key{certificatesPerDomain, domain, ""}, config.CertificatesPerDomain})
	}
	return parts
}

// domainOf is what a name is counted under: the domain that somebody could
// register, which for names of a private network is that of two labels; an IPv4
// address, an IPv6 network of /64; any other name itself.
func domainOf(name identifier.Identifier) string {
	switch name.Type {
	case identifier.DNS:
		if domain, err := publicsuffix.EffectiveTLDPlusOne(name.Base().Value); err == nil {
			return domain
		}
	case identifier.IP:
		if network, err := name.Addr().Prefix(64); err == nil && name.Addr().Is6() {
			return network.String()
		}
	}
	return name.Base().Value
}

// Usage is how much of a limit is used.
type Usage struct {
	Limit string // its name in the configuration
	Of    string // whose it is; "" of the limit itself
	Rate  Rate
	Used  int
	Wait  time.Duration // until the next is allowed; 0 for now
}

// All lists the limits that are set.
func (l *Limits) All() []Usage {
	config := l.config.Load()
	var list []Usage
	for _, name := range []string{newAccounts, newAccountsPerNetwork, newOrders, failedValidations, certificatesPerDomain, certificatesPerSet} {
		if rate := config.rate(name); rate.Count > 0 {
			list = append(list, Usage{Limit: name, Rate: rate})
		}
	}
	return list
}

// Used lists the limits that hold for orders like the given one.
// Of those by name, only what is used is listed.
func (l *Limits) Used(ctx context.Context, orders []Order) ([]Usage, error) {
	config := l.config.Load()
	var parts []part
	for _, o := range orders {
		parts = append(parts, part{key{newOrders, o.AccountID, ""}, config.NewOrders}, part{key{grantOrders, o.GrantID, ""}, o.MaxRate})
		parts = append(parts, failures(config, o.AccountID, o.Names)...)
		parts = append(parts, certificates(config, o.Names)...)
	}
	parts = inForce(parts)
	usage, err := l.counts.used(ctx, parts, l.now())
	if err != nil {
		return nil, err
	}
	var list []Usage
	for i, p := range parts {
		if byAccount := p.key.limit == newOrders || p.key.limit == grantOrders; usage[i].count > 0 || byAccount {
			list = append(list, Usage{Limit: p.key.limit, Of: strings.TrimSpace(fmt.Sprint(p.key.of, " ", p.key.more)), Rate: p.rate, Used: usage[i].count, Wait: usage[i].wait})
		}
	}
	return list, nil
}

// Keys is how many things are counted now, where that is known: by a single
// node.
func (l *Limits) Keys() int { return l.counts.size() }
