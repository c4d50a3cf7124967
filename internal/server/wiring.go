package server

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"sync/atomic"

	"chancery/internal/acme"
	"chancery/internal/ca"
	"chancery/internal/config"
	"chancery/internal/grant"
	"chancery/internal/hierarchy"
	"chancery/internal/incident"
	"chancery/internal/keys"
	"chancery/internal/lint"
	"chancery/internal/observe"
	"chancery/internal/policy"
	"chancery/internal/profile"
	"chancery/internal/revocation"
	"chancery/internal/store"
	"chancery/internal/store/sqlite"
	"chancery/internal/validation"
)

// openStore takes the directory and opens the store in it.
func (s *Server) openStore(ctx context.Context) error {
	lock, err := sqlite.LockDir(s.config.Dir)
	if err != nil {
		return err
	}
	s.onClose(lock.Close)
	if s.database, err = openDatabase(ctx, s.config, s.now); err != nil {
		return err
	}
	s.onClose(s.database.Close)
	s.shared, _ = s.database.(store.Shared)
	s.store = revocation.Watch(observe.Store(s.database, s.metrics), s.revoked)
	s.metrics.Queue("store", s.database.Queued)
	return nil
}

// loadHierarchy reads the CA's certificates and the keys that sign.
func (s *Server) loadHierarchy(ctx context.Context) error {
	s.onClose(s.closeHelpers)
	loaded, err := s.loadIssuers(ctx, s.config)
	if err != nil {
		return err
	}
	chain := loaded.current[hierarchy.DefaultIssuer].Chain()
	s.root = chain[len(chain)-1]
	s.metrics.Expiry("root", s.root.NotAfter)
	s.useIssuers(loaded)
	return nil
}

// openAuthority builds the road and settles what a crash left on it. No other
// process has the directory, so nobody can be at work on an intent in a file
// there; in a database that others use, an intent is left over when its time is.
func (s *Server) openAuthority(ctx context.Context) (err error) {
	s.linter = lint.New()
	if err := s.lintProfiles(s.config, s.issuers.Load()); err != nil {
		return err
	}
	s.grants = grant.NewBook(s.store)
	s.policy = &policy.Policy{Constraints: s.permits, Grants: s.grants, Now: s.now}
	s.policy.SetRules(s.config.Rules)
	s.limits = s.newLimits(s.config)
	s.tellWarnings(ctx, s.config)
	own, err := revocation.Profiles()
	if err != nil {
		return err
	}
	if s.authority, err = ca.New(ca.Deps{
		Store:    s.store,
		Issuers:  s.issuers.Load().byName(),
		Former:   s.issuers.Load().byID(),
		Places:   s.lists,
		Own:      own,
		Policy:   s.policy,
		Profiles: s.config.Compiled,
		Linter:   s.linter,
		CheckKey: keys.Check,
		Now:      s.now,
		Rand:     rand.Reader,
		Log:      s.log,
		Auditor:  s.auditor,
		Issued:   s.metrics.Issued,
	}); err != nil {
		return err
	}
	leftOver := s.now()
	if s.shared == nil {
		leftOver = leftOver.AddDate(100, 0, 0)
	}
	if _, err := s.authority.Settle(ctx, leftOver); err != nil {
		return fmt.Errorf("couldn't settle what was left over: %w", err)
	}
	return nil
}

// tellWarnings logs what is strange about a configuration.
func (s *Server) tellWarnings(ctx context.Context, c *config.Config) {
	for _, warning := range c.Warnings {
		s.log.Warn("the configuration has something that can hardly be meant", "what", warning.Error())
	}
	s.tellUnnamed(ctx, c)
}

// lintProfiles looks at samples of what the profiles make. What a relying party
// would refuse refuses the profile, at its place in the configuration.
func (s *Server) lintProfiles(c *config.Config, issuers *issuers) error {
	for name, compiled := range c.Compiled {
		place := c.Place("profiles." + name)
		shape, err := profile.NewIssuer(issuers.of(compiled).Certificate())
		if err != nil {
			return err
		}
		warnings, err := s.linter.Profile(compiled, shape, s.now())
		if err != nil {
			return fmt.Errorf("%s: profiles.%s: %w", place, name, err)
		}
		for _, warning := range warnings {
			s.log.Warn("a profile makes certificates that some may not like", "profile", name, "place", place, "lint", warning)
		}
	}
	return nil
}

// openDoor builds the ACME door.
func (s *Server) openDoor(ctx context.Context) error {
	nonces, err := s.newNonces(ctx)
	if err != nil {
		return err
	}
	validator, err := s.newValidator(s.config)
	if err != nil {
		return err
	}
	s.metrics.Queue("validations", func() int { return int(s.validating.Load()) })
	s.incidents = incident.NewBook(s.store, s.log)
	s.door, err = acme.New(acme.Deps{
		Config:    s.acmeConfig(s.config),
		Store:     s.store,
		Authority: s.authority,
		Validator: validator,
		Grants:    s.grants,
		Limits:    s.limits,
		Nonces:    nonces,
		Windows:   s.incidents,
		CheckKey:  keys.Check,
		Now:       s.now,
		Rand:      rand.Reader,
		Log:       s.log,
		Auditor:   s.auditor,
		Annotate:  annotate,
		Validated: s.metrics.Validated,
	})
	return err
}

// annotate takes what the door says of a request.
func annotate(ctx context.Context, key, value string) {
	if key == "acme" { // the resource
		observe.SetResource(ctx, value)
		return
	}
	observe.Add(ctx, key, value)
}

// countedValidator counts the attempts under way.
type countedValidator struct {
	acme.Validator
	underWay *atomic.Int64
}

func (c countedValidator) Validate(ctx context.Context, request validation.Request) validation.Result {
	c.underWay.Add(1)
	defer c.underWay.Add(-1)
	return c.Validator.Validate(ctx, request)
}

func (s *Server) newValidator(c *config.Config) (acme.Validator, error) {
	v := c.Validation
	validator, err := validation.New(validation.Config{
		HTTPPort:          v.HTTPPort,
		TLSPort:           v.TLSPort,
		Timeout:           v.Timeout.Std(),
		Resolvers:         v.Resolvers,
		ZoneResolvers:     v.ZoneResolvers,
		Allow:             v.Allow,
		Deny:              v.Deny,
		Only:              v.Only,
		OwnListeners:      s.listeners.addresses,
		CAA:               v.CAA == "on",
		CAAIdentities:     v.CAAIdentities,
		PersistIssuers:    c.ACME.DNSPersistIssuers,
		PersistHashPrefix: acme.AccountHashPrefix(s.externalURLOf(c)),
		Now:               s.now,
	})
	return countedValidator{validator, &s.validating}, err
}

// acmeConfig is the part of the configuration that the ACME door goes by.
func (s *Server) acmeConfig(c *config.Config) acme.Config {
	v, a := c.Validation, c.ACME
	return acme.Config{
		ExternalURL:           s.externalURLOf(c),
		FormerURLs:            c.FormerURLs,
		DefaultProfile:        c.DefaultProfile,
		EABRequired:           a.EABRequired,
		TermsOfService:        a.TermsOfService,
		Website:               a.Website,
		CAAIdentities:         v.CAAIdentities,
		CAA:                   v.CAA == "on",
		OrderLifetime:         a.OrderLifetime.Std(),
		AuthorizationLifetime: a.AuthorizationLifetime.Std(),
		MaxIdentifiers:        a.MaxIdentifiers,
		FinalizeWait:          a.FinalizeWait.Std(),
		RenewalPoll:           a.RenewalPoll.Std(),
		Challenges:            challenges(a),
		SubdomainAuth:         a.SubdomainAuth,
		Underscores:           c.Policy.AllowUnderscores,
		PersistIssuers:        a.DNSPersistIssuers,
		ValidationWait:        v.Wait.Std(),
		ValidationTimeout:     v.Timeout.Std(),
		Attempts:              v.Attempts,
		RetryInterval:         v.RetryInterval.Std(),
		MaxValidations:        v.MaxConcurrent,
		NonceReject:           a.Fault.NonceReject,
	}
}

// challenges are the configured ones, and dns-persist-01 once it has issuers.
func challenges(a config.ACME) []string {
	if len(a.DNSPersistIssuers) == 0 {
		return a.Challenges
	}
	return append(slices.Clone(a.Challenges), string(validation.DNSPersist01))
}

// externalURLOf is the server as clients reach it. When the system chose the
// port, only the listener knows it.
func (s *Server) externalURLOf(c *config.Config) string {
	if c.ExternalURL != "" {
		return c.ExternalURL
	}
	return c.BaseURL("https", s.listeners.https.Addr().String())
}

func (s *Server) externalURL() string { return s.externalURLOf(s.Config()) }

// openOwnCertificate has the CA issue the HTTPS listener's certificate.
func (s *Server) openOwnCertificate(ctx context.Context) error {
	chainOf := func(issuerID string) [][]byte { return s.issuers.Load().chainOf(issuerID) }
	s.own = newOwnCertificate(s.authority, chainOf, s.now, s.log)
	s.own.windows = s.incidents
	s.own.renewed = func(leaf *x509.Certificate) { s.metrics.Expiry("tls", leaf.NotAfter) }
	s.own.setNames(ownNames(s.config, s.listeners.https.Addr()))
	if err := s.own.renew(ctx); err != nil {
		return fmt.Errorf("couldn't issue the server's own certificate: %w", err)
	}
	return nil
}

// addHandlers ties the routes to the listeners.
func (s *Server) addHandlers(context.Context) error {
	s.handle(s.secureRoutes(), s.plainRoutes(), s.metricsRoutes(), s.adminRoutes(), s.askClients(&tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: s.own.get,
	}))
	return nil
}
