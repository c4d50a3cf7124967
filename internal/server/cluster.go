package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"chancery/internal/acme"
	"chancery/internal/cluster"
	"chancery/internal/config"
	"chancery/internal/limits"
	"chancery/internal/store"
)

// jobTidy is the job of removing what has been kept long enough.
const jobTidy = "tidy"

// jobLists is the job of publishing the revocation lists of an issuer. Each has
// its own, so that a node without the key of one keeps nobody from it.
func jobLists(issuerID string) string { return "lists:" + issuerID }

// openMember makes this process one of the nodes, when its store is shared.
func (s *Server) openMember(context.Context) error {
	if s.shared == nil {
		return nil
	}
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	s.member = cluster.New(cluster.Deps{
		Store:    s.shared,
		Name:     cmp.Or(s.config.Node.Name, host),
		Version:  s.options.Version,
		Now:      s.now,
		Elapsed:  time.Now,
		Log:      s.log,
		Describe: s.describe,
		Forget: map[store.Kind]func(){
			store.KindAccounts:    s.door.ForgetAccounts,
			store.KindBindings:    s.grants.ForgetAll,
			store.KindIncidents:   s.incidents.Forget,
			store.KindRevocations: s.responder.ForgetAll,
			store.KindIssuers:     s.door.ForgetIssuers,
		},
		Reload: map[store.Kind]func(context.Context) error{
			store.KindProvisioners: s.provisionersChanged,
			store.KindIssuers:      s.issuersChanged,
			store.KindRevocations:  s.checkOwnCertificate,
		},
	})
	s.setJobs(s.issuers.Load())
	return nil
}

// setJobs says what this node is ready to do: publish the lists of those
// issuers whose keys it has, among others.
func (s *Server) setJobs(current *issuers) {
	if s.member == nil {
		return
	}
	jobs := []string{jobTidy}
	for _, signer := range current.signers() {
		jobs = append(jobs, jobLists(signer.ID()))
	}
	s.member.SetJobs(jobs)
}

// held reports whether a job is this node's to do now, and its fence. A node
// whose store is its own does all.
func (s *Server) held(job string) (store.Fence, bool) {
	if s.shared == nil {
		return store.Fence{}, true
	}
	return s.member.Held(job)
}

// listLease is revocation.Lease.
type listLease struct{ *Server }

func (l listLease) Held(issuerID string) (store.Fence, bool) { return l.held(jobLists(issuerID)) }

// describe is what this node says of itself.
func (s *Server) describe(ctx context.Context) cluster.Details {
	c := s.Config()
	details := cluster.Details{
		ExternalURL: s.externalURLOf(c), Address: s.Address("https"), Ready: true,
		Issuers: map[string]string{}, Settings: c.SharedSettings(),
	}
	for name, local := range s.issuers.Load().current {
		details.Issuers[name] = local.ID()
	}
	if err := s.ready(ctx); err != nil {
		details.Ready, details.Reason = false, err.Error()
	}
	return details
}

// clusterOf asks about the nodes that use a database.
func clusterOf(of database) func(context.Context) (cluster.Status, error) {
	shared, ok := of.(store.Shared)
	if !ok {
		return nil
	}
	return func(ctx context.Context) (cluster.Status, error) { return cluster.Look(ctx, shared) }
}

// newNonces are those of a single node in its memory, or those that all nodes
// take from each other.
func (s *Server) newNonces(ctx context.Context) (acme.NonceSource, error) {
	if s.shared == nil {
		return acme.NewMemoryNonces(rand.Reader, 0)
	}
	fresh := make([]byte, 32)
	if _, err := rand.Read(fresh); err != nil {
		return nil, err
	}
	secret, err := s.shared.Secret(ctx, acme.NonceSecret, fresh)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the secret of nonces: %w", err)
	}
	s.nonces, err = acme.NewSharedNonces(acme.NonceDeps{Store: s.shared, Secret: secret, Now: s.now})
	return s.nonces, err
}

func (s *Server) newLimits(c *config.Config) *limits.Limits {
	if s.shared == nil {
		return limits.New(c.Rates, s.now)
	}
	return limits.NewShared(c.Rates, s.now, s.shared, s.log)
}

// issuersChanged takes over the certificates of issuers that other nodes have
// made known.
func (s *Server) issuersChanged(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := *s.issuers.Load()
	if err := s.addKnown(ctx, &next); err != nil {
		return err
	}
	s.issuers.Store(&next)
	return nil
}

// addKnown adds the issuers that only the store knows: other nodes sign with
// them, or did.
func (s *Server) addKnown(ctx context.Context, to *issuers) error {
	known, err := s.store.Issuers(ctx)
	if err != nil {
		return fmt.Errorf("couldn't read the issuers: %w", err)
	}
	to.all = slices.Clone(to.all)
	for _, one := range known {
		if !slices.ContainsFunc(to.all, func(i store.Issuer) bool { return i.ID == one.ID }) {
			to.all = append(to.all, one)
		}
	}
	return nil
}

// checkOwnCertificate has the server's own certificate renewed when another
// node has revoked it.
func (s *Server) checkOwnCertificate(ctx context.Context) error {
	own := s.own.issued.Load()
	found, err := s.store.Certificate(ctx, own.CertificateKey)
	if err == nil && found.Revocation != nil {
		s.own.revoked([]store.CertificateKey{own.CertificateKey})
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
