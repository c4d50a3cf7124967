package servertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
	"chancery/internal/validation"
	"chancery/internal/validation/dnstest"
)

// The ports of validation, the same on every host: each has addresses of its
// own.
const (
	httpPort = 5002
	tlsPort  = 5001
	dnsPort  = 5053
	lockPort = 5099
)

// Network is the addresses of one test: a /24 below 127.0.0.0/8. The CA and
// its DNS server have the first host, Web the second.
type Network string

// Host is an address of the network, from 1 to 253.
func (n Network) Host(number int) string { return fmt.Sprintf("%s%d", n, number) }

// reserve finds a network that no other test uses, of this process or another:
// who listens on its last address has it.
func reserve(t testing.TB) Network {
	t.Helper()
	for range 100 {
		n := Network(fmt.Sprintf("127.%d.%d.", 64+mathrand.IntN(128), mathrand.IntN(256)))
		lock, err := net.Listen("tcp", fmt.Sprintf("%s:%d", n.Host(254), lockPort))
		if err == nil {
			t.Cleanup(func() { _ = lock.Close() })
			return n
		}
	}
	t.Fatal("couldn't find a loopback network that no other test uses")
	return ""
}

func startDNS(t testing.TB, address string) *dnstest.Server {
	t.Helper()
	s, err := dnstest.Start(fmt.Sprintf("%s:%d", address, dnsPort))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Host answers http-01 and tls-alpn-01 at one address. Its methods may be
// called by any goroutine.
type Host struct {
	Address string

	mu           sync.Mutex
	pages        map[string]http.HandlerFunc // guarded by mu; by path
	certificates map[string]*tls.Certificate // guarded by mu; by name in SNI
	requests     int                         // guarded by mu
}

// NewHost starts a host at address and ends it with the test.
func NewHost(t testing.TB, address string) *Host {
	t.Helper()
	h := &Host{Address: address, pages: map[string]http.HandlerFunc{}, certificates: map[string]*tls.Certificate{}}
	plain := Listen(t, address, httpPort)
	server := &http.Server{Handler: http.HandlerFunc(h.serve), ReadHeaderTimeout: time.Minute}
	secure := tls.NewListener(Listen(t, address, tlsPort), &tls.Config{
		GetCertificate: h.certificate, NextProtos: []string{"acme-tls/1"}, MinVersion: tls.VersionTLS12,
	})
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(plain) })
	serving.Go(func() { handshakes(secure) })
	t.Cleanup(func() {
		_ = server.Close()
		_ = secure.Close()
		serving.Wait()
	})
	return h
}

// Listen listens on a port of address until the test ends.
func Listen(t testing.TB, address string, port int) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", fmt.Sprintf("%s:%d", address, port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// ListenHTTP listens where the CA looks for http-01 at address, and answers
// nothing.
func ListenHTTP(t testing.TB, address string) net.Listener { return Listen(t, address, httpPort) }

// handshakes serves TLS connections until the listener is closed.
func handshakes(listener net.Listener) {
	var open sync.WaitGroup
	defer open.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		open.Go(func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			_ = conn.(*tls.Conn).Handshake()
		})
	}
}

func (h *Host) serve(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.requests++
	page := h.pages[r.URL.Path]
	h.mu.Unlock()
	if page == nil {
		http.NotFound(w, r)
		return
	}
	page(w, r)
}

// Requests is how many HTTP requests have come.
func (h *Host) Requests() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.requests
}

// Handle serves a path over HTTP.
func (h *Host) Handle(path string, page http.HandlerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pages[path] = page
}

// ChallengePath is where http-01 looks for a token.
func ChallengePath(token string) string { return "/.well-known/acme-challenge/" + token }

// HTTP01 is an acmetest.Solver.
func (h *Host) HTTP01(_ *acmetest.Authorization, challenge acmetest.Challenge, keyAuthorization string) {
	h.Handle(ChallengePath(challenge.Token), func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, keyAuthorization)
	})
}

// TLSALPN01 is an acmetest.Solver.
func (h *Host) TLSALPN01(authz *acmetest.Authorization, _ acmetest.Challenge, keyAuthorization string) {
	certificate, err := challengeCertificate(authz.Identifier, keyAuthorization)
	if err != nil {
		panic(err) // nothing in it can fail
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.certificates[serverName(authz.Identifier)] = certificate
}

func (h *Host) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if found := h.certificates[hello.ServerName]; found != nil {
		return found, nil
	}
	return nil, fmt.Errorf("no certificate for %q", hello.ServerName)
}

// serverName is what the CA asks for by SNI (RFC 8737 §3, RFC 8738 §6).
func serverName(name acmetest.Name) string {
	if name.Type != "ip" {
		return name.Value
	}
	addr := netip.MustParseAddr(name.Value)
	if !addr.Is4() {
		panic("only IPv4 here")
	}
	b := addr.As4()
	return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa", b[3], b[2], b[1], b[0])
}

// challengeCertificate proves a key authorization (RFC 8737 §3).
func challengeCertificate(name acmetest.Name, keyAuthorization string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte(keyAuthorization))
	value, err := asn1.Marshal(digest[:])
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}, Critical: true, Value: value}},
	}
	if name.Type == "ip" {
		template.IPAddresses = []net.IP{net.ParseIP(name.Value)}
	} else {
		template.DNSNames = []string{name.Value}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// DNS01 is an acmetest.Solver.
func (c *CA) DNS01(authz *acmetest.Authorization, _ acmetest.Challenge, keyAuthorization string) {
	c.DNS.AddTXT("_acme-challenge."+authz.Identifier.Value, validation.DNSDigest(keyAuthorization))
}

// DNSAccount01 returns the acmetest.Solver of an account.
func (c *CA) DNSAccount01(accountURL string) acmetest.Solver {
	return func(authz *acmetest.Authorization, _ acmetest.Challenge, keyAuthorization string) {
		label := validation.AccountLabel(accountURL)
		c.DNS.AddTXT(strings.Join([]string{label, "_acme-challenge", authz.Identifier.Value}, "."), validation.DNSDigest(keyAuthorization))
	}
}
