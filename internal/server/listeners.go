package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"chancery/internal/admin"
)

const (
	readHeaderTime = 10 * time.Second
	readTime       = 30 * time.Second
	writeTime      = 3 * time.Minute // more than any request waits for an outcome
	idleTime       = 2 * time.Minute
	maxHeader      = 16 << 10

	socketName = "admin.sock"
)

// listeners are where the server can be reached. They are opened before the
// handlers are known, so that a port that is taken is found out early.
type listeners struct {
	https, http, metrics, admin net.Listener // nil for those that are not wanted
	servers                     []*http.Server
	serving                     []func() error
}

// listen opens every listener that the configuration wants.
func (s *Server) listen(ctx context.Context) (err error) {
	c, l := s.config, &s.listeners
	for _, wanted := range []struct {
		setting, address string
		listener         *net.Listener
	}{
		{"listen", c.Listen, &l.https},
		{"http_listen", c.HTTPListen, &l.http},
		{"metrics_listen", c.MetricsListen, &l.metrics},
	} {
		if wanted.address == "" {
			continue
		}
		opened, err := listenTCP(ctx, wanted.setting, wanted.address)
		if err != nil {
			return err
		}
		s.onClose(func() error { return ignoreClosed(opened.Close()) })
		*wanted.listener = netutil.LimitListener(opened, c.MaxConnections)
	}
	path := filepath.Join(c.Dir, socketName)
	if l.admin, err = listenSocket(ctx, path); err != nil {
		return err
	}
	s.onClose(func() error { return errors.Join(ignoreClosed(l.admin.Close()), os.Remove(path)) })
	return nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// ListenError says that a listener could not be opened, and which setting is
// about it.
type ListenError struct {
	Setting, Address string
	Err              error
}

func (e *ListenError) Error() string {
	if errors.Is(e.Err, syscall.EADDRINUSE) {
		return fmt.Sprintf("couldn't listen on %s (setting %s): another program uses this port", e.Address, e.Setting)
	}
	return fmt.Sprintf("couldn't listen on %s (setting %s): %v", e.Address, e.Setting, e.Err)
}

// Unwrap returns the cause.
func (e *ListenError) Unwrap() error { return e.Err }

// Hint is the remedy, for a person at a terminal.
func (e *ListenError) Hint() string {
	hint := "choose another address with --set " + e.Setting + "=HOST:PORT"
	if e.Setting != "listen" {
		hint += ", or none with --set " + e.Setting + "="
	}
	if errors.Is(e.Err, syscall.EACCES) {
		hint += "; ports below 1024 need a privilege (CAP_NET_BIND_SERVICE)"
	}
	return hint
}

func listenTCP(ctx context.Context, setting, address string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err
		}
		return nil, &ListenError{setting, address, err}
	}
	return listener, nil
}

// listenSocket opens the administrative socket, for its owner only. Whoever
// calls holds the directory's lock, so a socket that is there already is left
// over. The new one is made in a private directory and moved into place, so
// that it can never be reached with wider permissions.
func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	private, err := os.MkdirTemp(filepath.Dir(path), ".")
	if err != nil {
		return nil, fmt.Errorf("couldn't open the administrative socket: %w", err)
	}
	defer func() { _ = os.RemoveAll(private) }()
	made := filepath.Join(private, "s")
	var config net.ListenConfig
	var listener net.Listener
	err = admin.WithSocketPath(made, func(short string) (err error) {
		listener, err = config.Listen(ctx, "unix", short)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("couldn't open the administrative socket %s: %w", path, err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	if err = os.Chmod(made, 0o600); err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("couldn't open the administrative socket: %w", err), listener.Close())
	}
	return listener, nil
}

// addresses are where the CA itself listens: never a target of validation. A
// listener on all addresses is an unspecified address here.
func (l *listeners) addresses() []netip.AddrPort {
	var list []netip.AddrPort
	for _, listener := range []net.Listener{l.https, l.http, l.metrics} {
		if listener == nil {
			continue
		}
		if tcp, ok := listener.Addr().(*net.TCPAddr); ok {
			addr := tcp.AddrPort()
			list = append(list, netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()))
		}
	}
	return list
}

// handle says what each listener serves.
func (s *Server) handle(https, plain, metrics, administrative http.Handler, tlsConfig *tls.Config) {
	l := &s.listeners
	secure := s.newHTTPServer(https)
	secure.TLSConfig = tlsConfig
	l.add(secure, func() error { return secure.ServeTLS(l.https, "", "") })
	for _, other := range []struct {
		listener net.Listener
		handler  http.Handler
	}{{l.http, plain}, {l.metrics, metrics}} {
		if other.listener != nil {
			server := s.newHTTPServer(other.handler)
			l.add(server, func() error { return server.Serve(other.listener) })
		}
	}
	server := s.newHTTPServer(administrative)
	server.ConnContext = admin.ConnContext
	server.WriteTimeout = 0 // a backup takes as long as it takes; only the operator gets here
	l.add(server, func() error { return server.Serve(l.admin) })
}

func (l *listeners) add(server *http.Server, serve func() error) {
	l.servers = append(l.servers, server)
	l.serving = append(l.serving, serve)
}

// newHTTPServer speaks HTTP/1.1 only: HTTP/2 costs a third more CPU for each
// issuance, and ACME clients gain nothing from it.
func (s *Server) newHTTPServer(handler http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           handler,
		Protocols:         protocols,
		ReadHeaderTimeout: readHeaderTime,
		ReadTimeout:       readTime,
		WriteTimeout:      writeTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// serve starts serving. Whatever makes a listener stop by itself is sent.
func (l *listeners) serve() <-chan error {
	failed := make(chan error, len(l.serving))
	for _, serve := range l.serving {
		go func() { // ends when shutdown closes its server
			if err := serve(); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("couldn't go on serving: %w", err)
			}
		}()
	}
	return failed
}

// shutdown stops accepting and waits for the requests in flight, at most so
// long.
func (l *listeners) shutdown(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	var wait sync.WaitGroup
	for _, server := range l.servers {
		wait.Go(func() {
			if server.Shutdown(ctx) != nil {
				_ = server.Close() // cuts what took too long
			}
		})
	}
	wait.Wait()
	return nil
}
