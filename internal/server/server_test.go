package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/internal/admin"
	"chancery/internal/config"
	"chancery/internal/hierarchy"
	"chancery/internal/inventory"
	"chancery/internal/server"
	"chancery/internal/store/sqlite"
)

// running is a server that serves, and what tests ask of it.
type running struct {
	*server.Server
	dir  string
	log  *syncBuffer
	stop func() error // stops it and returns what Serve returned
}

type syncBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer // guarded by mu
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// newDir makes a directory with a CA in it.
func newDir(t *testing.T, permit ...string) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := hierarchy.Create(hierarchy.Options{Dir: dir, Permit: permit, Passphrase: []byte("p")}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t *testing.T, dir string, set ...string) (*server.Server, *syncBuffer, error) {
	t.Helper()
	c, err := config.Load(config.LoadOptions{Dir: dir, Set: append([]string{"listen=127.0.0.1:0", "http_listen=127.0.0.1:0"}, set...)})
	if err != nil {
		t.Fatal(err)
	}
	written := &syncBuffer{}
	level := new(slog.LevelVar)
	log := slog.New(slog.NewTextHandler(written, &slog.HandlerOptions{Level: level}))
	s, err := server.Open(t.Context(), server.Options{Config: c, Load: c.Reload, Log: log, Level: level, Audit: log, Version: "test"})
	return s, written, err
}

func start(t *testing.T, dir string, set ...string) *running {
	t.Helper()
	s, log, err := open(t, dir, set...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	r := &running{Server: s, dir: dir, log: log}
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return r
}

func (r *running) tlsConfig() *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(r.Root())
	return &tls.Config{RootCAs: roots, NextProtos: []string{"h2", "http/1.1"}}
}

// page is an answer that was read.
type page struct {
	status, protocol int
	body             string
}

func (r *running) get(t *testing.T, url string) page {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: r.tlsConfig(), ForceAttemptHTTP2: true, DisableKeepAlives: true}}
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return page{answer.StatusCode, answer.ProtoMajor, string(body)}
}

func (r *running) base() string { return strings.TrimSuffix(r.DirectoryURL(), "/acme/directory") }

func TestServesItsResources(t *testing.T) {
	r := start(t, newDir(t), "metrics_listen=127.0.0.1:0")
	root, _ := os.ReadFile(filepath.Join(r.dir, "root.pem"))
	intermediate, _ := os.ReadFile(filepath.Join(r.dir, "intermediate.pem"))
	for _, test := range []struct {
		path   string
		status int
		says   string
	}{
		{"/root.pem", 200, string(root)},
		{"/intermediate.pem", 200, string(intermediate)},
		{"/healthz", 200, "ok"},
		{"/readyz", 200, "ok"},
		{"/", 200, r.DirectoryURL()},
		{"/acme/directory", 200, `"newNonce"`},
		{"/acme/p/shortlived/directory", 200, "/acme/p/shortlived/new-order"},
		{"/metrics", 404, ""},
		{"/v1/certificates", 404, ""},
		{"/nothing", 404, ""},
	} {
		answer := r.get(t, r.base()+test.path)
		if answer.status != test.status || !strings.Contains(answer.body, test.says) || answer.protocol != 1 {
			t.Errorf("%s: %+v", test.path, answer)
		}
		plain := r.get(t, "http://"+r.Address("http")+test.path)
		if isACME := strings.HasPrefix(test.path, "/acme"); isACME && plain.status != 404 || !isACME && plain.status != test.status {
			t.Errorf("%s in plain HTTP: %+v", test.path, plain)
		}
	}
	metrics := r.get(t, "http://"+r.Address("metrics")+"/metrics").body
	for _, name := range []string{
		`chancery_issuances_total{outcome="issued",profile="tls-server"} 1`,
		`chancery_requests_total{resource="directory",status="200"}`,
		`chancery_ca_certificate_expiry_timestamp_seconds{certificate="tls"}`,
		`chancery_store_step_seconds_count{step="begin_issuance"} 1`,
		`chancery_queue_length{queue="store"} 0`,
	} {
		if !strings.Contains(metrics, name) {
			t.Errorf("metrics lack %s", name)
		}
	}
	if log := r.log.String(); !strings.Contains(log, "resource=p/{profile}/directory status=200") || strings.Contains(log, "healthz") {
		t.Errorf("log:\n%s", log)
	}
}

func TestRefusesWhatItCannotHave(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, setting := range []string{"listen", "http_listen", "metrics_listen"} {
		_, _, err := open(t, newDir(t), setting+"="+taken.Addr().String())
		refused, ok := errors.AsType[*server.ListenError](err)
		if !ok || refused.Setting != setting || !strings.Contains(err.Error(), "another program uses this port") {
			t.Errorf("%s on a port that is taken: %v", setting, err)
		}
	}
	if _, _, err := open(t, t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory without a CA: %v", err)
	}
	r := start(t, newDir(t))
	if _, _, err := open(t, r.dir); !errors.Is(err, sqlite.ErrLocked) {
		t.Errorf("a directory in use: %v", err)
	}
}

func TestAFailedOpenLeavesNothingBehind(t *testing.T) {
	dir := newDir(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := open(t, dir, "http_listen="+taken.Addr().String()); err == nil {
		t.Fatal("opened on a port that is taken")
	}
	_ = taken.Close()
	start(t, dir)
}

func TestAdminSocket(t *testing.T) {
	dir := newDir(t)
	socket := filepath.Join(dir, "admin.sock")
	if err := os.WriteFile(socket, nil, 0o644); err != nil { // as a crash would leave one
		t.Fatal(err)
	}
	r := start(t, dir)
	info, err := os.Stat(socket)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("socket: %v, %v", info.Mode(), err)
	}
	client := connect(t, r)
	status, err := client.Status(t.Context())
	if err != nil || !status.Serving || !status.Ready || status.DirectoryURL != r.DirectoryURL() || status.Version != "test" {
		t.Errorf("status: %+v, %v", status, err)
	}
	if err := errors.Join(client.Close(), r.stop()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket stayed: %v", err)
	}
	offline := connect(t, r)
	defer offline.Close()
	if status, err := offline.Status(t.Context()); err != nil || status.Serving {
		t.Errorf("offline: %+v, %v", status, err)
	}
	for c, err := range offline.Certificates(t.Context(), inventory.Query{}, 0) {
		if err != nil || c.Requester != "self" {
			t.Errorf("offline: %+v, %v", c, err)
		}
	}
}

func connect(t *testing.T, r *running) *admin.Client {
	t.Helper()
	client, err := server.Connect(t.Context(), r.dir, func() (*config.Config, error) { return r.Config(), nil }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestReload(t *testing.T) {
	dir := newDir(t)
	file := filepath.Join(dir, config.FileName)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := start(t, dir)
	client := connect(t, r)
	defer client.Close()

	write("acme:\n  website: https://example.corp/\nmax_connections: 77\nlog:\n  level: error\nformer_urls: [https://127.0.0.2:1]\n" +
		"profiles:\n  tiny:\n    validity: {default: 1h}\n")
	reloaded, err := client.Reload(t.Context())
	if err != nil || !slices.Contains(reloaded.Changed, "acme.website") || !slices.Contains(reloaded.Restart, "max_connections") {
		t.Fatalf("reloaded %+v, %v", reloaded, err)
	}
	if body := r.get(t, r.base()+"/acme/directory").body; !strings.Contains(body, "https://example.corp/") || !strings.Contains(body, "profile/tiny") {
		t.Errorf("the directory does not know: %s", body)
	}
	before := r.log.String()
	r.get(t, r.base()+"/root.pem")
	if r.log.String() != before {
		t.Error("the log's level did not change")
	}

	write("acme:\n  website: https://other.corp/\n  max_identifiers: many\n")
	if _, err := client.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "chancery.yaml:3") {
		t.Errorf("a bad configuration: %v", err)
	}
	for text, want := range map[string]string{
		"subject: {country: ZZ}":                                     "chancery.yaml:2: profiles.odd: couldn't use the profile odd, for its certificates would be refused: the certificate breaks rules of X.509: e_subject_country_not_iso",
		"{subject: {common_name: x}, basic_constraints: {ca: true}}": "chancery.yaml:2: profiles.odd: couldn't write a sample certificate",
	} {
		write("profiles:\n  odd: {" + strings.Trim(text, "{}") + "}}\n")
		if _, err := client.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", text, err, want)
		}
	}
	if body := r.get(t, r.base()+"/acme/directory").body; !strings.Contains(body, "https://example.corp/") {
		t.Errorf("the running configuration did not stay: %s", body)
	}
}

// A request whose body is still under way when the server is told to stop gets
// its answer.
func TestStopsGracefully(t *testing.T) {
	r := start(t, newDir(t))
	address, err := url.Parse(r.base())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", address.Host, r.tlsConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /acme/new-account HTTP/1.1\r\nHost: %s\r\nContent-Type: application/jose+json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n", address.Host)
	answer := bufio.NewReader(conn)
	if line, err := answer.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") { // the handler reads
		t.Fatalf("%q, %v", line, err)
	}
	_, _ = answer.ReadString('\n')
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	for refused := false; !refused; { // once it accepts no more, it is stopping
		probe, err := net.DialTimeout("tcp", address.Host, time.Second)
		if refused = err != nil; !refused {
			_ = probe.Close()
		}
	}
	fmt.Fprint(conn, "{}")
	got, err := http.ReadResponse(answer, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = got.Body.Close()
	if got.StatusCode != http.StatusBadRequest {
		t.Errorf("the request in flight got %s", got.Status)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Serve: %v", err)
	}
	lock, err := sqlite.LockDir(r.dir)
	if err != nil {
		t.Fatalf("the directory is not free: %v", err)
	}
	_ = lock.Close()
}

func TestStopsInTimeWhateverIsInFlight(t *testing.T) {
	r := start(t, newDir(t), "shutdown_timeout=100ms")
	address, _ := url.Parse(r.base())
	conn, err := tls.Dial("tcp", address.Host, r.tlsConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /acme/new-account HTTP/1.1\r\nHost: %s\r\nContent-Length: 2\r\nExpect: 100-continue\r\nContent-Type: application/jose+json\r\n\r\n", address.Host)
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v", line, err)
	}
	began := time.Now()
	if err := r.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v to stop", took)
	}
}

func TestOwnCertificateUnderNameConstraints(t *testing.T) {
	r := start(t, newDir(t, "corp.example", "127.0.0.0/8"), "names=ca.corp.example")
	conn, err := tls.Dial("tcp", r.Address("https"), &tls.Config{RootCAs: r.tlsConfig().RootCAs, ServerName: "ca.corp.example"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	leaf := conn.ConnectionState().PeerCertificates[0]
	if err := leaf.VerifyHostname("localhost"); err == nil {
		t.Error("the certificate is good for localhost, which the root does not permit")
	}
	if err := leaf.VerifyHostname("127.0.0.1"); err != nil {
		t.Error(err)
	}
	_, _, err = open(t, newDir(t, "corp.example"))
	if err == nil || !strings.Contains(err.Error(), "none of the server's names may be certified") {
		t.Errorf("no name is permitted: %v", err)
	}
}
