package acmeclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"

	"chancery/internal/identifier"
)

// answers is what a listening solver says, by token or server name.
type answers[T any] struct {
	mu    sync.Mutex
	known map[string]T // guarded by mu
}

func (a *answers[T]) set(key string, value T) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil {
		a.known = map[string]T{}
	}
	a.known[key] = value
}

func (a *answers[T]) get(key string) (T, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	value, ok := a.known[key]
	return value, ok
}

func (a *answers[T]) remove(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.known, key)
}

// listener is a server that listens from the first challenge on.
type listener struct {
	address string
	server  *http.Server
	served  chan struct{} // closed when serving has ended; nil before it began
}

// validationTimeout is how long one request of the validating server may take.
const validationTimeout = 10 * time.Second

func newListener(address string, handler http.Handler) *listener {
	return &listener{address: address, server: &http.Server{
		Handler: handler, ReadTimeout: validationTimeout, WriteTimeout: validationTimeout,
		ErrorLog: log.New(io.Discard, "", 0),
	}}
}

func (l *listener) start(ctx context.Context, serve func(net.Listener) error) error {
	if l.served != nil {
		return nil
	}
	socket, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.address)
	if err != nil {
		return &Error{op: "listen on " + l.address, err: err, hint: listenRemedy(err)}
	}
	l.served = make(chan struct{})
	go func() {
		defer close(l.served)
		_ = serve(socket) // http.ErrServerClosed
	}()
	return nil
}

func listenRemedy(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "ports below 1024 need root or the capability CAP_NET_BIND_SERVICE; --http and --tls choose another address, which must get what the CA sends to the real one"
	case errors.Is(err, syscall.EADDRINUSE):
		return "another server has that port: stop it, or choose another address with --http and have it pass on /.well-known/acme-challenge/"
	default:
		return ""
	}
}

func (l *listener) close() error {
	if l.served == nil {
		return nil
	}
	err := l.server.Close()
	<-l.served
	return err
}

// httpSolver answers http-01 (RFC 8555 §8.3).
type httpSolver struct {
	*listener
	tokens *answers[string]
}

func newHTTPSolver(address string) httpSolver {
	tokens := &answers[string]{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/acme-challenge/{token}", func(w http.ResponseWriter, r *http.Request) {
		authorization, ok := tokens.get(r.PathValue("token"))
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write([]byte(authorization)) //nolint:gosec // the ACME server chose the token, and the type is no HTML
	})
	return httpSolver{newListener(address, mux), tokens}
}

func (s httpSolver) method() string { return acme.ChallengeTypeHTTP01 }

func (s httpSolver) present(ctx context.Context, c acme.Challenge) error {
	s.tokens.set(c.Token, c.KeyAuthorization)
	return s.start(ctx, s.server.Serve)
}

func (s httpSolver) cleanUp(_ context.Context, c acme.Challenge) error {
	s.tokens.remove(c.Token)
	return nil
}

// tlsSolver answers tls-alpn-01 (RFC 8737): only the handshake counts.
type tlsSolver struct {
	*listener
	certificates *answers[*tls.Certificate]
}

func newTLSSolver(address string) tlsSolver {
	s := tlsSolver{newListener(address, http.NotFoundHandler()), &answers[*tls.Certificate]{}}
	s.server.TLSConfig = &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{acmez.ACMETLS1Protocol},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			certificate, ok := s.certificates.get(strings.ToLower(hello.ServerName))
			if !ok {
				return nil, fmt.Errorf("no challenge for %q", hello.ServerName)
			}
			return certificate, nil
		},
	}
	s.server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
		acmez.ACMETLS1Protocol: func(_ *http.Server, conn *tls.Conn, _ http.Handler) { _ = conn.Close() },
	}
	return s
}

func (s tlsSolver) method() string { return acme.ChallengeTypeTLSALPN01 }

func (s tlsSolver) present(ctx context.Context, c acme.Challenge) error {
	certificate, err := acmez.TLSALPN01ChallengeCert(c)
	if err != nil {
		return err
	}
	s.certificates.set(serverName(c.Identifier), certificate)
	return s.start(ctx, func(socket net.Listener) error { return s.server.ServeTLS(socket, "", "") })
}

func (s tlsSolver) cleanUp(_ context.Context, c acme.Challenge) error {
	s.certificates.remove(serverName(c.Identifier))
	return nil
}

// serverName is the SNI of a validation; that of an address is its name for
// reverse lookups (RFC 8738 §6).
func serverName(id acme.Identifier) string {
	if reverse, err := dns.ReverseAddr(id.Value); id.Type == string(identifier.IP) && err == nil {
		return strings.TrimSuffix(reverse, ".")
	}
	return strings.ToLower(id.Value)
}
