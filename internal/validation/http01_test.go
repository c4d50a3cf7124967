package validation

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"chancery/internal/failure"
)

// serveHTTP starts a web server on addr.
func serveHTTP(t testing.TB, addr string, handler http.HandlerFunc) net.Addr {
	t.Helper()
	l := listen(t, addr)
	server := &http.Server{Handler: handler}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return l.Addr()
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

func TestHTTP01Bodies(t *testing.T) {
	long := strings.Repeat("A", maxBody)
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		kind    failure.Kind
		says    []string // nothing: proven
	}{
		{"exact", text(keyAuth), 0, nil},
		{"white space at the end", text(keyAuth + " \r\n\t\n"), 0, nil},
		{"chunked", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, keyAuth[:10])
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, keyAuth[10:])
		}, 0, nil},
		{"404", http.NotFound, failure.Unauthorized, []string{"status 404", "expected 200", "www.corp at 127.0.0.1:"}},
		{"500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, failure.Unauthorized, []string{"status 500"}},
		{"304", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, failure.Unauthorized, []string{"status 304"}},
		{"empty", text("\n"), failure.Unauthorized, []string{"is empty", keyAuth}},
		{"token alone", text(token), failure.Unauthorized, []string{"token alone"}},
		{"other account", text(token + ".other"), failure.Unauthorized, []string{"of another account"}},
		{"text after", text(keyAuth + "\nmore"), failure.Unauthorized, []string{"5 bytes after"}},
		{"page", text("\n<html>secret</html>"), failure.Unauthorized, []string{"20 bytes", "HTML"}},
		{"something else", text("secret"), failure.Unauthorized, []string{"6 bytes", "does not begin with the token"}},
		{"UTF-16", text("\xff\xfee\x00v\x00"), failure.Unauthorized, []string{"UTF-16"}},
		{"byte order mark", text("\xef\xbb\xbf" + keyAuth), failure.Unauthorized, []string{"byte order mark"}},
		{"too long", text(long + "x"), failure.Unauthorized, []string{"longer than 16384"}},
		{"compressed unasked", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, "secret")
		}, failure.Unauthorized, []string{"Content-Encoding"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.dns.SetA("www.corp", "127.0.0.1")
			w.config.HTTPPort = portOf(serveHTTP(t, "127.0.0.1:0", test.handler))
			result := w.validate(HTTP01, dnsName("www.corp"))
			if test.says == nil {
				proven(t, result)
				return
			}
			refused(t, result, test.kind, test.says...)
			if strings.Contains(result.Err.Error()+result.Transcript.String(), "secret") {
				t.Errorf("the page is quoted: %v\n%s", result.Err, result.Transcript)
			}
		})
	}
}

func TestHTTP01Request(t *testing.T) {
	for _, test := range []struct{ listen, name, host string }{
		{"127.0.0.1:0", "www.corp", "www.corp"},
		{"127.0.0.1:0", "127.0.0.1", "127.0.0.1"},
		{"[::1]:0", "::1", "[::1]"},
	} {
		w := newWorld(t)
		w.dns.SetA("www.corp", "127.0.0.1")
		got := make(chan *http.Request, 1)
		w.config.HTTPPort = portOf(serveHTTP(t, test.listen, func(w http.ResponseWriter, r *http.Request) {
			got <- r
			_, _ = io.WriteString(w, keyAuth)
		}))
		id := dnsName(test.name)
		if _, err := netip.ParseAddr(test.name); err == nil {
			id = ip(test.name)
		}
		proven(t, w.validate(HTTP01, id))
		r := <-got
		if r.Method != http.MethodGet || r.Host != test.host || r.URL.Path != "/.well-known/acme-challenge/"+token || r.UserAgent() != userAgent {
			t.Errorf("%s: %s %s, Host %s, User-Agent %s", test.name, r.Method, r.URL, r.Host, r.UserAgent())
		}
	}
}

func TestHTTP01Redirects(t *testing.T) {
	w := newWorld(t)
	w.dns.SetA("www.corp", "127.0.0.1")
	w.dns.SetA("other.corp", "127.0.0.1")
	next, status := make(chan string, 1), make(chan int, 1)
	handler := func(rw http.ResponseWriter, r *http.Request) {
		var n int
		if _, err := fmt.Sscanf(r.URL.Path, "/count/%d", &n); err == nil && n > 0 {
			http.Redirect(rw, r, fmt.Sprintf("/count/%d", n-1), http.StatusFound)
			return
		}
		_, _ = io.WriteString(rw, keyAuth)
	}
	port := portOf(serveHTTP(t, "127.0.0.1:0", func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, token) {
			rw.Header().Set("Location", <-next)
			rw.WriteHeader(<-status)
			return
		}
		handler(rw, r)
	}))
	w.config.HTTPPort = port
	for _, test := range []struct {
		status   int
		location string
		kind     failure.Kind
		says     string // "": proven
	}{
		{301, "/done", 0, ""},
		{302, "done?x=y#fragment", 0, ""},
		{303, fmt.Sprintf("http://other.corp:%d/", port), 0, ""},
		{307, fmt.Sprintf("http://127.0.0.1:%d/", port), 0, ""},
		{308, fmt.Sprintf("//OTHER.corp.:%d/", port), 0, ""},
		{302, "/count/9", 0, ""},
		{302, "/count/10", failure.IncorrectResponse, "more than 10 times"},
		{302, "", failure.IncorrectResponse, "no URL"},
		{302, "ftp://www.corp/", failure.IncorrectResponse, "only http and https"},
		{302, "gopher:x", failure.IncorrectResponse, "only http and https"},
		{302, "http:x", failure.IncorrectResponse, "neither a name nor an address"},
		{302, "http://[::1%25eth0]/", failure.IncorrectResponse, "neither a name nor an address"},
		{302, "http://\u212a.corp/", failure.IncorrectResponse, "neither a name nor an address"},
		{302, "http://a@www.corp/", failure.IncorrectResponse, "user name"},
		{302, "http://www.corp:22/", failure.IncorrectResponse, "port 22"},
		{302, "https://www.corp:8443/", failure.IncorrectResponse, "port 8443"},
		{302, "http://" + strings.Repeat("a", maxURL), failure.IncorrectResponse, "too long"},
		{302, "http://a\"b/", failure.IncorrectResponse, "not followed"},
		{302, "http://169.254.169.254/latest", failure.Connection, "cloud metadata"},
		{302, "http://[::ffff:169.254.169.254]/", failure.Connection, "cloud metadata"},
		{302, "http://0x7f.1/", failure.DNS, "does not exist"},
		{302, "http://gone.corp/", failure.DNS, "gone.corp does not exist"},
	} {
		next <- test.location
		status <- test.status
		result := w.validate(HTTP01, dnsName("www.corp"))
		if test.says == "" {
			proven(t, result)
		} else {
			refused(t, result, test.kind, test.says)
		}
	}
}

// A redirect to https is followed without regard to the certificate.
func TestHTTP01RedirectToTLS(t *testing.T) {
	w := newWorld(t)
	secure := httptest.NewTLSServer(text(keyAuth))
	t.Cleanup(secure.Close)
	w.config.HTTPPort = portOf(secure.Listener.Addr()) // so that the redirect's port is allowed
	v := w.validator()
	a := v.newAttempt(request(HTTP01, ip("127.0.0.1")))
	target, err := http.NewRequest(http.MethodGet, secure.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if next, err := a.fetch(t.Context(), target.URL, target.URL.Host, w.config.HTTPPort); next != nil || err != nil {
		t.Fatalf("%v, %v", next, err)
	}
	if tls := a.log.transcript.Steps[1]; tls.Action != "handshake" || tls.TLS != "TLS 1.3" || tls.ALPN != "http/1.1" {
		t.Errorf("%+v", tls)
	}
}

func TestHTTP01Broken(t *testing.T) {
	send := func(raw string) func(net.Conn) {
		return func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, raw)
		}
	}
	for _, test := range []struct {
		name   string
		handle func(net.Conn)
		kind   failure.Kind
		says   string
	}{
		{"silence", silence, failure.Connection, "no answer in time"},
		{"closes at once", func(net.Conn) {}, failure.Connection, "connection"},
		{"closes in the header", send("HTTP/1.1 200 OK\r\nA: b"), failure.Connection, "connection closed"},
		{"closes in the body", send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsecret"), failure.Connection, "connection closed"},
		{"drips", func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
			for range time.Tick(10 * time.Millisecond) {
				if _, err := io.WriteString(conn, "x"); err != nil {
					return
				}
			}
		}, failure.Connection, "no answer in time"},
		{"no HTTP", send("SSH-2.0-secret\r\n\r\n"), failure.IncorrectResponse, "something else than an HTTP response"},
		{"bad header", send("HTTP/1.1 200 OK\r\nsecret\r\n\r\n"), failure.IncorrectResponse, "something else"},
		{"bad chunks", send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsecret\r\n"), failure.IncorrectResponse, "something else"},
		{"header without end", send("HTTP/1.1 200 OK\r\n" + strings.Repeat("A: secret\r\n", 10_000)), failure.IncorrectResponse, "longer than 65536"},
		{"interim for ever", send(strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100)), failure.IncorrectResponse, "something else"},
		{"interim, then right", send("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n" + keyAuth), 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			if test.says == "no answer in time" {
				w.config.Timeout = 200 * time.Millisecond
			}
			l := listen(t, "127.0.0.1:0")
			serveRaw(t, l, test.handle)
			w.config.HTTPPort = portOf(l.Addr())
			began := time.Now()
			result := w.validate(HTTP01, ip("127.0.0.1"))
			if took := time.Since(began); took > w.config.Timeout+2*time.Second {
				t.Errorf("took %v", took)
			}
			if test.says == "" {
				proven(t, result)
				return
			}
			refused(t, result, test.kind, test.says)
			if strings.Contains(result.Err.Error()+result.Transcript.String(), "secret") {
				t.Errorf("the page is quoted: %v\n%s", result.Err, result.Transcript)
			}
		})
	}
}

func TestHTTP01Unreachable(t *testing.T) {
	w := newWorld(t)
	closed := listen(t, "127.0.0.1:0")
	w.config.HTTPPort = portOf(closed.Addr())
	_ = closed.Close()
	refused(t, w.validate(HTTP01, ip("127.0.0.1")), failure.Connection, "connection refused")

	w.config.Timeout = 300 * time.Millisecond
	w.config.HTTPPort = int(blackHole(t, netip.MustParseAddrPort("127.0.0.1:0")).Port())
	refused(t, w.validate(HTTP01, ip("127.0.0.1")), failure.Connection, "no answer in time")
}

// A dead first address leaves time for the next.
func TestHTTP01NextAddress(t *testing.T) {
	w := newWorld(t)
	w.config.Timeout = time.Second
	six := listen(t, "[::1]:0")
	w.config.HTTPPort = portOf(six.Addr())
	serveHTTP(t, fmt.Sprintf("127.0.0.1:%d", w.config.HTTPPort), text(keyAuth))
	w.dns.SetA("www.corp", "127.0.0.1", "::1")

	serveRaw(t, six, silence)
	result := w.validate(HTTP01, dnsName("www.corp"))
	proven(t, result)
	var dialed []string
	for _, step := range result.Transcript.Steps {
		if step.Action == "connect" {
			dialed = append(dialed, step.Server)
		}
	}
	if len(dialed) != 2 || !strings.HasPrefix(dialed[0], "[::1]:") {
		t.Errorf("dialed %v", dialed)
	}
	_ = six.Close()
	proven(t, w.validate(HTTP01, dnsName("www.corp")))

	hole := blackHole(t, netip.MustParseAddrPort("127.0.0.1:0"))
	w.config.HTTPPort = int(hole.Port())
	serveHTTP(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), hole.Port()).String(), text(keyAuth))
	w.dns.SetA("www.corp", "127.0.0.1", "127.0.0.2")
	proven(t, w.validate(HTTP01, dnsName("www.corp")))
}
