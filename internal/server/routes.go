package server

import (
	"cmp"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"

	"chancery/internal/admin"
	"chancery/internal/observe"
)

// The resources that the server itself answers, as logs and metrics name them.
const (
	resourceHealth = "healthz"
	resourceReady  = "readyz"
)

func (s *Server) requests() *observe.Requests {
	return &observe.Requests{Log: s.log, Metrics: s.metrics, Quiet: []string{resourceHealth, resourceReady}}
}

// secureRoutes are what the HTTPS listener serves.
func (s *Server) secureRoutes() http.Handler {
	mux := s.commonRoutes()
	mux.Handle("/acme/", s.door.Handler())
	mux.Handle("/api/v1/", s.tokens.Handler())
	mux.Handle(admin.Prefix+"/", s.remoteAdmin())
	mux.HandleFunc("GET /spiffe/bundle", func(w http.ResponseWriter, r *http.Request) {
		observe.SetResource(r.Context(), "spiffe/bundle")
		s.serveBundle(w, r)
	})
	return s.requests().Wrap(s.withOCSP(mux))
}

// plainRoutes are what the plain HTTP listener serves: only what carries its
// own proof.
func (s *Server) plainRoutes() http.Handler {
	return s.requests().Wrap(s.withOCSP(s.commonRoutes()))
}

func (s *Server) commonRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	serve := func(path string, handler http.HandlerFunc) {
		resource := cmp.Or(strings.Trim(path, "/{$}"), "front")
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			observe.SetResource(r.Context(), resource)
			handler(w, r)
		})
	}
	serve("/root.pem", servePEM(func() [][]byte { return [][]byte{s.root.Raw} }))
	serve("/intermediate.pem", servePEM(func() [][]byte {
		issuers := s.issuers.Load()
		return issuers.chainOf(issuers.of(nil).ID())
	}))
	serve("/crl/", s.serveList)
	serve("/ca/", s.serveIssuer)
	serve("/"+resourceHealth, func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "ok\n") })
	serve("/"+resourceReady, s.serveReady)
	serve("/{$}", s.serveFront)
	return mux
}

func (s *Server) metricsRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics.Handler())
	return mux
}

// servePEM serves the certificates that there are at the time.
func servePEM(certificates func() [][]byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		for _, der := range certificates() {
			_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // the client is gone, then
		}
	}
}

func (s *Server) serveReady(w http.ResponseWriter, r *http.Request) {
	if err := s.ready(r.Context()); err != nil {
		observe.Add(r.Context(), "error", err.Error())
		w.Header().Set("Retry-After", "10")
		writeText(w, http.StatusServiceUnavailable, err.Error()+"\n")
		return
	}
	text := "ok\n"
	for _, warning := range s.revocationWarnings() { // no reason to send requests elsewhere
		text += "warning: " + warning + "\n"
	}
	writeText(w, http.StatusOK, text)
}

func (s *Server) serveFront(w http.ResponseWriter, _ *http.Request) {
	writeText(w, http.StatusOK, fmt.Sprintf(`This is Chancery, a private certificate authority.

ACME directory:    %s
Root certificate:  %s/root.pem
`, s.DirectoryURL(), s.externalURL()))
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}
