package validation

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"chancery/internal/failure"
)

// challengeCert is a right certificate for www.corp, spoilt by change.
func challengeCert(t testing.TB, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:    big.NewInt(1),
		NotAfter:        time.Now().Add(time.Hour),
		DNSNames:        []string{"www.corp"},
		ExtraExtensions: []pkix.Extension{{Id: oidACMEIdentifier, Critical: true, Value: digestValue(keyAuth)}},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func digestValue(keyAuthorization string) []byte {
	digest := sha256.Sum256([]byte(keyAuthorization))
	value, _ := asn1.Marshal(digest[:])
	return value
}

// serveTLS shows cert to all who come, and sends the server name asked for.
func serveTLS(t testing.TB, addr string, cert tls.Certificate, config *tls.Config) (port int, asked chan string) {
	t.Helper()
	asked = make(chan string, 10)
	config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		asked <- hello.ServerName
		return &cert, nil
	}
	l := listen(t, addr)
	serveRaw(t, l, func(conn net.Conn) {
		secure := tls.Server(conn, config)
		if secure.Handshake() == nil {
			_, _ = io.Copy(io.Discard, secure)
		}
	})
	return portOf(l.Addr()), asked
}

func acmeTLS() *tls.Config { return &tls.Config{NextProtos: []string{alpnProtocol}} }

func TestTLSALPN01Certificates(t *testing.T) {
	extension := func(id asn1.ObjectIdentifier, critical bool, value []byte) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: id, Critical: critical, Value: value}}
		}
	}
	san := func(value ...byte) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oidSubjectAltName, Value: value})
		}
	}
	for _, test := range []struct {
		name   string
		change func(*x509.Certificate)
		says   string // "": proven
	}{
		{"right", nil, ""},
		{"other case", func(c *x509.Certificate) { c.DNSNames = []string{"WWW.Corp"} }, ""},
		{"no name", func(c *x509.Certificate) { c.DNSNames = nil; c.Subject.CommonName = "www.corp" }, "no subject alternative name extension"},
		{"other name", func(c *x509.Certificate) { c.DNSNames = []string{"x.corp"} }, "subject alternative name is not dns:www.corp"},
		{"wildcard", func(c *x509.Certificate) { c.DNSNames = []string{"*.corp"} }, "is not dns:www.corp"},
		{"two names", func(c *x509.Certificate) { c.DNSNames = []string{"www.corp", "x.corp"} }, "more than one subject alternative name"},
		{"name twice", func(c *x509.Certificate) { c.DNSNames = []string{"www.corp", "www.corp"} }, "more than one"},
		{"name and address", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)} }, "more than one"},
		{"name as e-mail", func(c *x509.Certificate) { c.DNSNames, c.EmailAddresses = nil, []string{"www.corp"} }, "is not dns:www.corp"},
		{"names without any", san(0x30, 0), "can't be read"},
		{"no extension", func(c *x509.Certificate) { c.ExtraExtensions = nil }, "no acmeIdentifier extension (1.3.6.1.5.5.7.1.31)"},
		{"old number", extension(oidDraftIdentifier, true, digestValue(keyAuth)), "number of an old draft (1.3.6.1.5.5.7.1.30.1); update the ACME client"},
		{"not critical", extension(oidACMEIdentifier, false, digestValue(keyAuth)), "not marked critical"},
		{"bare digest", extension(oidACMEIdentifier, true, digestValue(keyAuth)[2:]), "not an OCTET STRING of 32 octets"},
		{"short digest", extension(oidACMEIdentifier, true, []byte{4, 1, 0}), "not an OCTET STRING of 32 octets"},
		{"more after it", extension(oidACMEIdentifier, true, append(digestValue(keyAuth), 0)), "not an OCTET STRING of 32 octets"},
		{"other digest", extension(oidACMEIdentifier, true, digestValue(token+".other")), "digest of another key authorization"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.dns.SetA("www.corp", "127.0.0.1")
			w.config.TLSPort, _ = serveTLS(t, "127.0.0.1:0", challengeCert(t, test.change), acmeTLS())
			result := w.validate(TLSALPN01, dnsName("www.corp"))
			if test.says == "" {
				proven(t, result)
				return
			}
			refused(t, result, failure.Unauthorized, "www.corp at 127.0.0.1:", test.says)
		})
	}
}

func TestTLSALPN01Addresses(t *testing.T) {
	for addr, asked := range map[string]string{
		"127.0.0.1": "1.0.0.127.in-addr.arpa",
		"::1":       "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
	} {
		w := newWorld(t)
		cert := challengeCert(t, func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, []net.IP{net.ParseIP(addr)} })
		port, names := serveTLS(t, net.JoinHostPort(addr, "0"), cert, acmeTLS())
		w.config.TLSPort = port
		proven(t, w.validate(TLSALPN01, ip(addr)))
		if name := <-names; name != asked {
			t.Errorf("%s: asked for %s, want %s", addr, name, asked)
		}
	}
	w := newWorld(t)
	w.config.TLSPort, _ = serveTLS(t, "127.0.0.1:0", challengeCert(t, nil), acmeTLS())
	refused(t, w.validate(TLSALPN01, ip("127.0.0.1")), failure.Unauthorized, "is not ip:127.0.0.1")
}

func TestTLSALPN01Handshakes(t *testing.T) {
	cert := challengeCert(t, nil)
	speak := func(config *tls.Config) func(net.Conn) {
		config.Certificates = []tls.Certificate{cert}
		return func(conn net.Conn) { _ = tls.Server(conn, config).Handshake(); silence(conn) }
	}
	for _, test := range []struct {
		name   string
		handle func(net.Conn)
		kind   failure.Kind
		says   string
	}{
		{"without ALPN", speak(&tls.Config{}), failure.Unauthorized, `negotiated by ALPN is ""; expected "acme-tls/1"`},
		{"other ALPN", speak(&tls.Config{NextProtos: []string{"h2"}}), failure.TLS, "no application protocol"},
		{"TLS 1.2", speak(&tls.Config{NextProtos: []string{alpnProtocol}, MaxVersion: tls.VersionTLS12}), 0, ""},
		{"TLS 1.1", speak(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}), failure.TLS, "protocol version"},
		{"plain HTTP", func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}, failure.TLS, "does not look like a TLS handshake"},
		{"silence", silence, failure.Connection, "no answer in time"},
		{"closes", func(net.Conn) {}, failure.Connection, "did not finish the TLS handshake"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.dns.SetA("www.corp", "127.0.0.1")
			if test.name == "silence" {
				w.config.Timeout = 300 * time.Millisecond
			}
			l := listen(t, "127.0.0.1:0")
			serveRaw(t, l, test.handle)
			w.config.TLSPort = portOf(l.Addr())
			result := w.validate(TLSALPN01, dnsName("www.corp"))
			if test.says == "" {
				proven(t, result)
			} else {
				refused(t, result, test.kind, test.says)
			}
		})
	}
}
