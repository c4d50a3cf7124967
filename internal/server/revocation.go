package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"chancery/internal/config"
	"chancery/internal/failure"
	"chancery/internal/hierarchy"
	"chancery/internal/observe"
	"chancery/internal/revocation"
	"chancery/internal/store"
)

// rootListWarning is how long before its end the root's revocation list is
// spoken of: its key may be far away.
const rootListWarning = 30 * 24 * time.Hour

// openLists prepares the revocation lists, which the road asks for places.
func (s *Server) openLists(context.Context) error {
	s.lists = revocation.NewLists(revocation.ListDeps{
		Store:     s.store,
		Issuers:   s.issuers.Load().signers(),
		Settings:  s.revocationSettings(s.config),
		Lease:     listLease{s},
		Now:       s.now,
		Jitter:    rand.Float64,
		Log:       s.log,
		Published: s.metrics.ListPublished,
		Overdue:   s.metrics.ListsOverdue,
	})
	s.loadRootList()
	return nil
}

// openResponder prepares the OCSP responder, whose certificates walk the road.
func (s *Server) openResponder(context.Context) (err error) {
	s.responder, err = revocation.NewResponder(revocation.ResponderDeps{
		Inventory: s.store,
		Authority: s.authority,
		Issuers:   s.issuers.Load().signers(),
		Settings:  s.revocationSettings(s.config),
		Now:       s.now,
		Log:       s.log,
	})
	return err
}

// revocationSettings is the part of the configuration that is about revocation.
func (s *Server) revocationSettings(c *config.Config) revocation.Settings {
	r := c.Revocation
	return revocation.Settings{
		BaseURL: s.httpURLOf(c), ListSize: r.ListSize, ListLifetime: r.ListLifetime.Std(),
		FullList: r.FullList == "on", OCSPLifetime: r.OCSPLifetime.Std(),
	}
}

// httpURLOf is the plain HTTP server as relying parties reach it; "" when there
// is none. When the system chose the port, only the listener knows it.
func (s *Server) httpURLOf(c *config.Config) string {
	if c.HTTPURL != "" || s.listeners.http == nil {
		return c.HTTPURL
	}
	return c.PlainURL(s.listeners.http.Addr().String())
}

// reconfigureRevocation puts what a reload has brought in force.
func (s *Server) reconfigureRevocation(c *config.Config, loaded *issuers) error {
	if err := s.responder.SetIssuers(loaded.signers()); err != nil {
		return err
	}
	s.lists.SetIssuers(loaded.signers())
	s.responder.Configure(s.revocationSettings(c))
	s.lists.Configure(s.revocationSettings(c))
	s.loadRootList()
	return nil
}

// revoked is told of every revocation.
func (s *Server) revoked(certificates ...store.CertificateKey) {
	if s.responder != nil { // the road settles what a crash left before there is one
		s.responder.Forget(certificates...)
	}
	if s.own != nil {
		s.own.revoked(certificates)
	}
}

// loadRootList reads the root's own list, if there is one. A bad one is not
// served, and stops nothing.
func (s *Server) loadRootList() {
	list, err := hierarchy.LoadRootList(s.config.Dir, s.root)
	if err != nil {
		s.rootList.Store(nil)
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("the root's revocation list is not served", "error", err)
		}
		return
	}
	s.rootList.Store(revocation.NewList(list.Raw, list.ThisUpdate, list.NextUpdate))
	s.metrics.ListEnds("root", list.NextUpdate)
}

// revocationWarnings are what relying parties will trip over, or do already.
func (s *Server) revocationWarnings() (warnings []string) {
	if err := s.lists.Trouble(); err != nil {
		warnings = append(warnings, "a revocation list has ended: "+err.Error())
	}
	if list := s.rootList.Load(); list != nil && s.now().After(list.NextUpdate.Add(-rootListWarning)) {
		warnings = append(warnings, fmt.Sprintf("the root's revocation list ends at %s; sign another with: chancery root crl", list.NextUpdate.Format(time.RFC3339)))
	}
	return warnings
}

// withOCSP answers OCSP before a router could tidy up the path.
func (s *Server) withOCSP(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == revocation.OCSPPath || strings.HasPrefix(r.URL.Path, revocation.OCSPPath+"/") {
			observe.SetResource(r.Context(), "ocsp")
			s.responder.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serveList serves a revocation list.
func (s *Server) serveList(w http.ResponseWriter, r *http.Request) {
	issuerID, partition, ok := revocation.ParseListPath(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	list, err := s.list(r.Context(), issuerID, partition)
	switch {
	case errors.Is(err, store.ErrNotFound):
		http.NotFound(w, r)
	case err != nil:
		observe.Add(r.Context(), "error", failure.Wrap("read revocation list", err).Error())
		w.Header().Set("Retry-After", "10")
		writeText(w, http.StatusServiceUnavailable, "the revocation list can't be read just now\n")
	default:
		list.Serve(w, r, s.now())
	}
}

func (s *Server) list(ctx context.Context, issuerID string, partition int64) (*revocation.Document, error) {
	if partition > 0 || issuerID != store.IssuerID(s.root.SubjectKeyId) {
		return s.lists.List(ctx, issuerID, partition)
	}
	if list := s.rootList.Load(); list != nil {
		return list, nil
	}
	return nil, store.ErrNotFound
}

// serveIssuer serves the certificate of an issuer, of any generation, or of the
// root: what certificates name as that of their issuer (RFC 5280 §4.2.2.1).
func (s *Server) serveIssuer(w http.ResponseWriter, r *http.Request) {
	id, ok := revocation.ParseIssuerPath(r.URL.Path)
	der := s.issuers.Load().certificate(id)
	if der == nil && id == store.IssuerID(s.root.SubjectKeyId) {
		der = s.root.Raw
	}
	if !ok || der == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/pkix-cert")
	w.Header().Set("Cache-Control", "max-age=86400, public, no-transform")
	_, _ = w.Write(der) // the client is gone, then
}

// signers are the issuers that have, or had, certificates to answer for.
func (i *issuers) signers() []revocation.Issuer {
	var signers []revocation.Issuer
	for _, local := range i.current {
		signers = append(signers, local)
	}
	for _, local := range i.former {
		signers = append(signers, local)
	}
	return signers
}

// certificate is the DER of an issuer's certificate; nil for an unknown one.
func (i *issuers) certificate(id string) []byte {
	at := slices.IndexFunc(i.all, func(known store.Issuer) bool { return known.ID == id })
	if at < 0 {
		return nil
	}
	return i.all[at].Chain[0]
}
