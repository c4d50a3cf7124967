package bench

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"

	"chancery/internal/identifier"
)

// answers is what the server's validations are to find: key authorizations by
// their path (http-01), digests by the name of their TXT record (dns-01),
// certificates by the name in SNI (tls-alpn-01).
type answers struct {
	mu           sync.RWMutex
	texts        map[string]string           // guarded by mu
	certificates map[string]*tls.Certificate // guarded by mu
}

func newAnswers() *answers {
	return &answers{texts: map[string]string{}, certificates: map[string]*tls.Certificate{}}
}

func (a *answers) text(key string) (string, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	text, ok := a.texts[key]
	return text, ok
}

// proof is one validation that is expected.
type proof struct {
	challenge        string
	id               identifier.Identifier
	token            string
	keyAuthorization string
}

// key is where the answer is found.
func (p *proof) key() string {
	switch p.challenge {
	case HTTP01:
		return "/.well-known/acme-challenge/" + p.token // RFC 8555 §8.3
	case DNS01:
		return "_acme-challenge." + p.id.Value // RFC 8555 §8.4
	default:
		return serverName(p.id)
	}
}

// serverName is the SNI of a validation; that of an address is its name for
// reverse lookups (RFC 8738 §6).
func serverName(id identifier.Identifier) string {
	if reverse, err := dns.ReverseAddr(id.Value); id.Type == identifier.IP && err == nil {
		return strings.TrimSuffix(reverse, ".")
	}
	return id.Value
}

// put answers a validation from now on.
func (a *answers) put(p *proof) error {
	text := p.keyAuthorization
	switch p.challenge {
	case DNS01:
		digest := sha256.Sum256([]byte(text))
		text = base64.RawURLEncoding.EncodeToString(digest[:])
	case TLSALPN01:
		certificate, err := acmez.TLSALPN01ChallengeCert(acme.Challenge{
			Identifier: acme.Identifier{Type: string(p.id.Type), Value: p.id.Value}, KeyAuthorization: text,
		})
		if err != nil {
			return err
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.certificates[p.key()] = certificate
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.texts[p.key()] = text
	return nil
}

// remove ends what put began.
func (a *answers) remove(p *proof) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.texts, p.key())
	delete(a.certificates, p.key())
}

// ServeHTTP answers http-01.
func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, ok := a.text(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = io.WriteString(w, text)
}

// certificate answers tls-alpn-01.
func (a *answers) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if certificate := a.certificates[strings.ToLower(hello.ServerName)]; certificate != nil {
		return certificate, nil
	}
	return nil, fmt.Errorf("no validation of %q is expected", hello.ServerName)
}

// answering is the servers that answer validations.
type answering struct {
	stops   []func() error
	serving sync.WaitGroup
}

// validationTimeout is how long one connection of a validation may last.
const validationTimeout = 30 * time.Second

// startAnswering starts what the challenge needs, and the DNS server if one is
// asked for.
func startAnswering(ctx context.Context, c *Config, known *answers) (*answering, error) {
	a := &answering{}
	var err error
	switch c.Challenge {
	case HTTP01:
		err = a.startWeb(ctx, c.HTTP, known, nil)
	case TLSALPN01:
		err = a.startWeb(ctx, c.TLS, http.NotFoundHandler(), &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{acmez.ACMETLS1Protocol}, GetCertificate: known.certificate,
		})
	}
	if err == nil && c.DNS != "" {
		err = a.startDNS(ctx, c, known)
	}
	if err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *answering) startWeb(ctx context.Context, address string, handler http.Handler, config *tls.Config) error {
	socket, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("couldn't listen for validations: %w", err)
	}
	server := &http.Server{
		Handler: handler, TLSConfig: config, ErrorLog: log.New(io.Discard, "", 0),
		ReadTimeout: validationTimeout, WriteTimeout: validationTimeout,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){
			// Only the handshake counts (RFC 8737 §3).
			acmez.ACMETLS1Protocol: func(_ *http.Server, conn *tls.Conn, _ http.Handler) { _ = conn.Close() },
		},
	}
	a.stops = append(a.stops, server.Close)
	a.serving.Go(func() {
		if config != nil {
			_ = server.ServeTLS(socket, "", "") // http.ErrServerClosed
		} else {
			_ = server.Serve(socket)
		}
	})
	return nil
}

// close ends the servers and waits until they have ended.
func (a *answering) close() {
	var ended []error
	for _, stop := range a.stops {
		ended = append(ended, stop())
	}
	_ = errors.Join(ended...) // nothing is written any more, so nothing is lost
	a.serving.Wait()
}
