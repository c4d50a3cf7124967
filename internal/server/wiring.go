package server

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"chancery/internal/acme"
	"chancery/internal/admin"
	"chancery/internal/ca"
	"chancery/internal/config"
	"chancery/internal/hierarchy"
	"chancery/internal/identifier"
	"chancery/internal/issuer"
	"chancery/internal/keys"
	"chancery/internal/lint"
	"chancery/internal/observe"
	"chancery/internal/policy"
	"chancery/internal/profile"
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
	if s.database, err = sqlite.Open(ctx, sqlite.Options{Path: s.config.Store.Path, Now: s.now}); err != nil {
		return err
	}
	s.onClose(s.database.Close)
	s.store = observe.Store(s.database, s.metrics)
	s.metrics.Queue("store", s.database.Queued)
	return nil
}

// loadHierarchy reads the CA's certificates and the key that signs.
func (s *Server) loadHierarchy(context.Context) (err error) {
	if s.hierarchy, err = hierarchy.Load(s.config.Dir); err != nil {
		return err
	}
	s.metrics.Expiry("root", s.hierarchy.Root.NotAfter)
	s.metrics.Expiry("intermediate", s.hierarchy.Intermediates[0].NotAfter)
	return nil
}

// openAuthority builds the road and settles what a crash left on it: no other
// process has the directory, so nobody can be at work on an intent.
func (s *Server) openAuthority(ctx context.Context) (err error) {
	chain := s.hierarchy.Chain()
	if s.issuer, err = issuer.NewLocal(s.hierarchy.Signer, chain); err != nil {
		return err
	}
	if err := s.store.RegisterIssuer(ctx, s.issuer.Record()); err != nil {
		return fmt.Errorf("couldn't register the issuer: %w", err)
	}
	s.linter = lint.New()
	if err := s.lintProfiles(s.config); err != nil {
		return err
	}
	permits := func(ids []identifier.Identifier) error { return hierarchy.Permits(chain, ids) }
	if s.authority, err = ca.New(ca.Deps{
		Store:    s.store,
		Issuer:   s.issuer,
		Policy:   &policy.Policy{Constraints: permits},
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
	const everything = 100 * 365 * 24 * time.Hour
	if _, err := s.authority.Settle(ctx, s.now().Add(everything)); err != nil {
		return fmt.Errorf("couldn't settle what was left over: %w", err)
	}
	return nil
}

// lintProfiles looks at samples of what the profiles make. What every
// certificate is linted for must pass here already; what only the public CAs'
// rules object to is told, for a private CA may have its reasons.
func (s *Server) lintProfiles(c *config.Config) error {
	shape, err := profile.NewIssuer(s.issuer.Certificate())
	if err != nil {
		return err
	}
	for name, compiled := range c.Compiled {
		samples, err := compiled.Samples(shape, s.now())
		if err != nil {
			return fmt.Errorf("couldn't use the profile %s: %w", name, err)
		}
		for _, sample := range samples {
			if err := s.linter.Check(sample.DER, shape.Algorithm()); err != nil {
				return fmt.Errorf("couldn't use the profile %s: %w", name, err)
			}
			if err := s.linter.CheckSample(sample.DER, shape.Algorithm()); err != nil {
				s.log.Warn("a profile makes certificates that public CAs may not", "profile", name, "lint", err)
				break
			}
		}
	}
	return nil
}

// openDoor builds the ACME door.
func (s *Server) openDoor(context.Context) error {
	nonces, err := acme.NewMemoryNonces(rand.Reader, 0)
	if err != nil {
		return err
	}
	validator, err := s.newValidator(s.config)
	if err != nil {
		return err
	}
	s.metrics.Queue("validations", func() int { return int(s.validating.Load()) })
	s.door, err = acme.New(acme.Deps{
		Config:    s.acmeConfig(s.config),
		Store:     s.store,
		Authority: s.authority,
		Validator: validator,
		Nonces:    nonces,
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
		Challenges:            challenges(a),
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
	var chain [][]byte
	for _, intermediate := range s.hierarchy.Intermediates {
		chain = append(chain, intermediate.Raw)
	}
	s.own = newOwnCertificate(s.authority, chain, s.now, s.log)
	s.own.renewed = func(leaf *x509.Certificate) { s.metrics.Expiry("tls", leaf.NotAfter) }
	s.own.setNames(ownNames(s.config, s.listeners.https.Addr()))
	if err := s.own.renew(ctx); err != nil {
		return fmt.Errorf("couldn't issue the server's own certificate: %w", err)
	}
	return nil
}

// addHandlers ties the routes to the listeners.
func (s *Server) addHandlers(context.Context) error {
	s.handle(s.secureRoutes(), s.plainRoutes(), s.metricsRoutes(), s.adminRoutes(), &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: s.own.get,
	})
	return nil
}

func (s *Server) adminRoutes() http.Handler {
	return s.requests().Wrap(admin.New(admin.Deps{
		Store:         s.store,
		Backup:        s.database.Backup,
		Dir:           s.config.Dir,
		Reload:        s.Reload,
		Status:        s.status,
		AccountClosed: s.door.ForgetAccount,
		Auditor:       s.auditor,
		Now:           s.now,
	}))
}
