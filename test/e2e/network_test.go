package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// zone is what the name server answers for.
const (
	zoneName = "example.test"
	zone     = zoneName + "."
)

// serveNames answers for example.test and localhost over UDP and TCP: names under "own" lead to
// s.own, others to s.web, and TXT records are what the files of s.txt/NAME hold.
func serveNames(t *testing.T, s *site) {
	t.Helper()
	address := net.JoinHostPort(s.ca, dnsPort)
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	handler := dns.HandlerFunc(s.answer)
	for _, server := range []*dns.Server{
		{PacketConn: packets, Handler: handler},
		{Listener: listener, Handler: handler},
	} {
		serveUntilCleanup(t, server.ActivateAndServe, server.Shutdown)
	}
}

func (s *site) answer(w dns.ResponseWriter, request *dns.Msg) {
	reply := new(dns.Msg).SetReply(request)
	reply.Authoritative = true
	question := request.Question[0]
	name := strings.ToLower(question.Name)
	if !dns.IsSubDomain(zone, name) && name != "localhost." {
		reply.Rcode = dns.RcodeNameError
	}
	header := dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: 1}
	switch question.Qtype {
	case dns.TypeA:
		reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: net.ParseIP(s.addressOf(name))})
	case dns.TypeTXT:
		for _, value := range s.textRecords(name) {
			reply.Answer = append(reply.Answer, &dns.TXT{Hdr: header, Txt: []string{value}})
		}
	case dns.TypeSOA:
		header.Name = zone
		soa := &dns.SOA{Hdr: header, Ns: "ns." + zone, Mbox: "admin." + zone, Serial: 1, Minttl: 1}
		if name == zone {
			reply.Answer = append(reply.Answer, soa)
		} else {
			reply.Ns = append(reply.Ns, soa)
		}
	}
	_ = w.WriteMsg(reply) // the asker is gone: nothing to do
}

// addressOf returns where a name leads.
func (s *site) addressOf(name string) string {
	switch {
	case name == "localhost.": // RFC 6761 §6.3
		return "127.0.0.1"
	case strings.Contains(name, ".own."):
		return s.own
	}
	return s.web
}

// textRecords reads the values of a TXT record; none where the name has no folder.
func (s *site) textRecords(name string) (values []string) {
	dir := filepath.Join(s.txt, strings.TrimSuffix(name, "."))
	files, _ := os.ReadDir(dir)
	for _, file := range files {
		if value, err := os.ReadFile(filepath.Join(dir, file.Name())); err == nil {
			values = append(values, string(value))
		}
	}
	return values
}

// serveTargets runs the web server that answers http-01 from s.webroot and the
// TLS server that answers tls-alpn-01, both at s.web.
func serveTargets(t *testing.T, s *site) *alpnServer {
	t.Helper()
	plain, err := net.Listen("tcp", net.JoinHostPort(s.web, challengePort))
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.FileServer(http.Dir(s.webroot))}
	serveUntilCleanup(t, func() error { return web.Serve(plain) }, web.Close)

	alpn := &alpnServer{certificates: map[string]*tls.Certificate{}}
	config := &tls.Config{GetCertificate: alpn.certificate, NextProtos: []string{"acme-tls/1"}}
	secure, err := tls.Listen("tcp", net.JoinHostPort(s.web, alpnPort), config)
	if err != nil {
		t.Fatal(err)
	}
	serveUntilCleanup(t, func() error { return alpn.serve(secure) }, secure.Close)
	return alpn
}

// serveUntilCleanup runs serve, and at the end of the test shutdown, and waits.
func serveUntilCleanup(t *testing.T, serve, shutdown func() error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = serve() // ends with an error whenever shutdown closes the listener
	}()
	t.Cleanup(func() {
		if err := shutdown(); err != nil {
			t.Error(err)
		}
		<-done
	})
}

// alpnServer completes the handshakes of tls-alpn-01 (RFC 8737).
type alpnServer struct {
	mu           sync.Mutex
	certificates map[string]*tls.Certificate // by server name; guarded by mu
	folder       string                      // NAME.crt.pem and NAME.key.pem, when not empty; guarded by mu
}

func (a *alpnServer) serve(listener net.Listener) error {
	var handshakes sync.WaitGroup
	defer handshakes.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		handshakes.Go(func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			_ = conn.(*tls.Conn).Handshake() // the CA reports what goes wrong
		})
	}
}

func (a *alpnServer) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if certificate, ok := a.certificates[hello.ServerName]; ok {
		return certificate, nil
	}
	if a.folder == "" {
		return nil, fmt.Errorf("no certificate for %q", hello.ServerName)
	}
	base := filepath.Join(a.folder, hello.ServerName)
	certificate, err := tls.LoadX509KeyPair(base+".crt.pem", base+".key.pem")
	return &certificate, err
}

// present answers a server name with a certificate; nil ends that.
func (a *alpnServer) present(serverName string, certificate *tls.Certificate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if certificate == nil {
		delete(a.certificates, serverName)
		return
	}
	a.certificates[serverName] = certificate
}

// presentFrom answers all other server names from a folder, as dehydrated fills
// it.
func (a *alpnServer) presentFrom(folder string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.folder = folder
}

// presentHTTP serves a key authorization for http-01.
func (s *site) presentHTTP(token, keyAuthorization string) error {
	return os.WriteFile(filepath.Join(s.challenges, token), []byte(keyAuthorization), 0o644)
}

// presentTXT adds a TXT record. Values that stay do no harm: any may match.
func (s *site) presentTXT(name, value string) error {
	dir := filepath.Join(s.txt, strings.TrimSuffix(strings.ToLower(name), "."))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file := fmt.Sprintf("%x", sha256.Sum256([]byte(value)))
	return os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644)
}
