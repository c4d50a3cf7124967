// Package server puts the parts together and runs them: the store, the CA's
// keys, the road, the doors, the listeners, and the work in the background. It
// is wiring only: what the parts promise, they promise themselves. One process
// serves one directory.
package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"chancery/internal/acme"
	"chancery/internal/admin"
	"chancery/internal/ca"
	"chancery/internal/cluster"
	"chancery/internal/config"
	"chancery/internal/grant"
	"chancery/internal/incident"
	"chancery/internal/keyhelper"
	"chancery/internal/limits"
	"chancery/internal/lint"
	"chancery/internal/observe"
	"chancery/internal/policy"
	"chancery/internal/revocation"
	"chancery/internal/store"
)

// Options is what a server is made of.
type Options struct {
	Config  *config.Config
	Load    func() (*config.Config, error) // reads the configuration again
	Log     *slog.Logger
	Level   *slog.LevelVar // of Log; a reload sets it. May be nil
	Audit   *slog.Logger   // where the audit trail goes
	Version string
	Now     func() time.Time // nil is time.Now
}

// Server is a certificate authority that listens. It is made by Open, and
// ended by Serve or Close.
type Server struct {
	options   Options
	now       func() time.Time
	log       *slog.Logger
	auditor   *observe.Auditor
	metrics   *observe.Metrics
	database  database
	shared    store.Shared // database, when other nodes use it, too; else nil
	store     store.Store  // database, with its steps measured
	root      *x509.Certificate
	issuers   atomic.Pointer[issuers]
	linter    *lint.Linter
	authority *ca.Authority
	policy    *policy.Policy
	grants    *grant.Book
	incidents *incident.Book
	limits    *limits.Limits
	door      *acme.Door
	tokens    tokenDoor
	own       *ownCertificate
	lists     *revocation.Lists
	responder *revocation.Responder
	rootList  atomic.Pointer[revocation.Document] // nil when there is none
	listeners listeners
	member    *cluster.Member    // nil without shared
	nonces    *acme.SharedNonces // nil without shared

	validating atomic.Int64 // validations under way
	started    time.Time
	closers    []func() error // what Close does, last first

	mu     sync.Mutex
	config *config.Config // the one in force; guarded by mu, which a reload holds

	helpers map[string]*keyhelper.Key // running; Open's, and then guarded by mu
}

// Open takes the directory, opens the store, reads the keys, and listens; it
// serves nothing yet. An error says which setting is at fault.
func Open(ctx context.Context, options Options) (_ *Server, err error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	s := &Server{
		options: options, config: options.Config, log: options.Log, now: options.Now, started: options.Now(),
		auditor: observe.NewAuditor(options.Audit), metrics: observe.NewMetrics(),
		helpers: map[string]*keyhelper.Key{},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, step := range []func(context.Context) error{
		s.openStore, s.loadHierarchy, s.listen, s.openLists, s.openAuthority, s.openResponder, s.openDoor, s.openTokenDoor, s.openOwnCertificate, s.openMember, s.addHandlers,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Close releases everything that Open took. It is for a server that is not
// served; Serve closes by itself.
func (s *Server) Close() error {
	var errs []error
	for len(s.closers) > 0 {
		last := len(s.closers) - 1
		errs = append(errs, s.closers[last]())
		s.closers = s.closers[:last]
	}
	return errors.Join(errs...)
}

func (s *Server) onClose(f func() error) { s.closers = append(s.closers, f) }

// Config is the configuration in force. It must not be changed.
func (s *Server) Config() *config.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config
}

// Root is the root certificate.
func (s *Server) Root() *x509.Certificate { return s.root }

// Serve serves until ctx is done. Then it accepts no more, finishes what is in
// flight within the configured time, ends the work in the background, and
// closes the store. The error is nil when all that went well.
func (s *Server) Serve(ctx context.Context) error {
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	var work, member errgroup.Group
	for _, run := range s.work() {
		work.Go(func() error { return run(background) })
	}
	membership, leave := context.WithCancel(context.WithoutCancel(ctx)) // outlasts the work, which is done under leases
	defer leave()
	if s.member != nil {
		member.Go(func() error { return s.member.Run(membership) })
	}

	failed := s.listeners.serve()
	var err error
	select {
	case <-ctx.Done():
		s.log.Info("stopping")
	case err = <-failed:
	}
	err = errors.Join(err, s.listeners.shutdown(s.Config().ShutdownTimeout.Std()))
	stopBackground()
	err = errors.Join(err, work.Wait())
	leave()
	return errors.Join(err, member.Wait(), s.Close())
}

// work is what goes on in the background.
func (s *Server) work() []func(context.Context) error {
	work := []func(context.Context) error{s.authority.Run, s.door.Run, s.own.run, s.tidy, s.lists.Run}
	if s.nonces != nil {
		work = append(work, s.nonces.Run)
	}
	return work
}

// status answers the administrative API.
func (s *Server) status(ctx context.Context) admin.Status {
	status := admin.Status{
		Version: s.options.Version, Serving: true, Started: s.started.UTC(),
		DirectoryURL: s.DirectoryURL(), Ready: true,
	}
	if err := s.ready(ctx); err != nil {
		status.Ready, status.Reason = false, err.Error()
	}
	return status
}

// DirectoryURL is where ACME clients begin.
func (s *Server) DirectoryURL() string { return s.externalURL() + "/acme/directory" }

// ready reports why the server cannot issue now.
func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if err := s.store.Ping(ctx); err != nil {
		return fmt.Errorf("the store does not answer: %w", err)
	}
	return s.authority.Ready()
}

// Address is where a listener listens: "https", "http" or "metrics"; "" when
// there is none of that name. It tells the port that the system chose.
func (s *Server) Address(name string) string {
	listener := map[string]net.Listener{"https": s.listeners.https, "http": s.listeners.http, "metrics": s.listeners.metrics}[name]
	if listener == nil {
		return ""
	}
	return listener.Addr().String()
}
