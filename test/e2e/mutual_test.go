package e2e

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	caclient "chancery/client"
)

// Certificates that are renewed every few seconds, so that a test sees several
// renewals.
const briefProfiles = `profiles:
  tls-mutual: {validity: {default: 12s}, backdate: 1s}
`

// startBrief starts a site whose tls-mutual certificates are brief, with a
// provisioner, and returns the function that gets tokens for a name from
// `chancery token`.
func startBrief(t *testing.T) (*site, func(name string) func(context.Context) (string, error)) {
	t.Helper()
	s := newSite(t)
	s.chancery(t, "init", "--dir", s.dir)
	if err := os.WriteFile(filepath.Join(s.dir, "chancery.yaml"), []byte(briefProfiles), 0o600); err != nil {
		t.Fatal(err)
	}
	s.serve(t, "serve")
	key := filepath.Join(s.work, "deploy.jwk")
	s.chancery(t, "provisioner", "create", "deploy", "--type", "jwk", "--profiles", "tls-mutual", "--out", key, "--dir", s.dir)
	return s, func(name string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) {
			stdout, stderr, err := s.try(t, nil, chancery, "token", "--key", key, "--provisioner", "deploy",
				"--server", s.base(), "--root", s.root, "--san", name)
			if err != nil {
				return "", fmt.Errorf("%w: %s", err, stderr)
			}
			return strings.TrimSpace(stdout), nil
		}
	}
}

func (s *site) base() string { return "https://" + s.ca + ":" + httpsPort }

// keep keeps a certificate for the length of a test and counts its renewals.
func (s *site) keep(t *testing.T, token func(context.Context) (string, error)) (*caclient.Keeper, *atomic.Int32) {
	t.Helper()
	roots, err := caclient.RootsFromFile(s.root)
	if err != nil {
		t.Fatal(err)
	}
	got := new(atomic.Int32)
	keeper, err := caclient.Keep(t.Context(), caclient.Options{
		Client: &caclient.Client{Server: s.base(), Roots: roots}, Token: token,
		Renewed: func(*caclient.Certificate) { got.Add(1) }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keeper.Close)
	return keeper, got
}

// traffic asks a URL again and again from several goroutines, on new
// connections and on kept ones, until done. Every request must succeed.
type traffic struct {
	requests atomic.Int32
	mu       sync.Mutex
	servers  map[string]bool // serial numbers that servers have shown
	clients  map[string]bool // and clients, if the page is the client's serial number
}

func (f *traffic) run(t *testing.T, url string, keeper *caclient.Keeper, done func() bool) {
	t.Helper()
	f.servers, f.clients = map[string]bool{}, map[string]bool{}
	deadline := time.Now().Add(2 * time.Minute)
	var asking sync.WaitGroup
	for i := range 6 {
		asking.Go(func() {
			web := &http.Client{
				Transport: &http.Transport{TLSClientConfig: keeper.ClientConfig(), DisableKeepAlives: i%2 == 0},
				Timeout:   10 * time.Second,
			}
			defer web.CloseIdleConnections()
			for !done() && time.Now().Before(deadline) {
				if err := f.ask(t.Context(), web, url); err != nil {
					t.Errorf("a request failed: %v", err)
					return
				}
			}
		})
	}
	asking.Wait()
	t.Logf("%d requests, %d certificates of the server, %d of the client", f.requests.Load(), len(f.servers), len(f.clients))
	if !done() {
		t.Error("too few renewals in two minutes")
	}
}

func (f *traffic) ask(ctx context.Context, web *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := web.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return errors.Join(err, fmt.Errorf("the server answered %s: %s", answer.Status, page))
	}
	f.requests.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.servers[answer.TLS.PeerCertificates[0].SerialNumber.String()] = true
	f.clients[string(page)] = true
	return nil
}

// A service and its client, both in Go, with certificates that end after six
// seconds: while each is renewed four times, no request is lost.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	s, token := startBrief(t)
	serving, served := s.keep(t, token(s.own))
	asking, asked := s.keep(t, token("client.example.test"))

	listener, err := net.Listen("tcp", s.own+":8443")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		TLSConfig: serving.ServerConfig(), ErrorLog: log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].SerialNumber.String())
		}),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})

	var flow traffic
	flow.run(t, "https://"+listener.Addr().String(), asking, func() bool { return served.Load() >= 5 && asked.Load() >= 5 })
	if len(flow.servers) < 4 || len(flow.clients) < 4 || flow.requests.Load() < 1000 {
		t.Errorf("%d certificates of the server and %d of the client in %d requests", len(flow.servers), len(flow.clients), flow.requests.Load())
	}
	s.expectMutual(t, asking.Certificate().Leaf())
	s.refusesStrangers(t, listener.Addr().String())
}

// expectMutual looks at a certificate as a peer does.
func (s *site) expectMutual(t *testing.T, leaf *x509.Certificate) {
	t.Helper()
	roots, err := s.roots()
	if err != nil {
		t.Fatal(err)
	}
	intermediates := x509.NewCertPool()
	intermediates.AppendCertsFromPEM(read(t, filepath.Join(s.dir, "intermediate.pem")))
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{usage}})
		if err != nil {
			t.Errorf("for usage %d: %v", usage, err)
		}
	}
}

// refusesStrangers asks without a certificate.
func (s *site) refusesStrangers(t *testing.T, address string) {
	t.Helper()
	answer, err := s.trusting(t).Get("https://" + address)
	if err == nil {
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			t.Error("a client without a certificate was let in")
		}
	}
}

// nginx, with a certificate that `chancery cert renew --daemon` renews, and
// reloaded by its command: no request is lost either.
func TestNginxIsReloaded(t *testing.T) {
	t.Parallel()
	s, token := startBrief(t)
	asking, _ := s.keep(t, token("client.example.test"))
	first, err := token(s.own)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tls, config := filepath.Join(s.work, "tls"), filepath.Join(s.work, "nginx.conf")
	told := filepath.Join(s.work, "told")
	s.chancery(t, "cert", "issue", "--token", first, "--server", s.base(), "--root", s.root, "--out", tls,
		"--exec", "nginx -c "+config+" -s reload 2>/dev/null && echo >> "+told)
	if err := os.WriteFile(config, []byte(nginxConfig(s, tls)), 0o600); err != nil {
		t.Fatal(err)
	}
	nginx := s.launch(t, "nginx", "-c", config, "-g", "daemon off;")
	url := "https://" + s.own + ":8444/"
	var flow traffic
	s.await(t, nginx, "nginx to answer", func() error {
		return flow.probe(t.Context(), asking, url)
	})
	daemon := s.launch(t, chancery, "cert", "renew", "--daemon", tls)

	flow.run(t, url, asking, func() bool {
		text, _ := os.ReadFile(told)
		return len(text) >= 3
	})
	if len(flow.servers) < 3 || flow.requests.Load() < 300 {
		t.Errorf("%d certificates in %d requests", len(flow.servers), flow.requests.Load())
	}
	s.refusesStrangers(t, s.own+":8444")
	if err := daemon.stop(); err != nil {
		t.Errorf("the daemon didn't stop as asked: %v", err)
	}
}

// probe asks once, before it counts.
func (f *traffic) probe(ctx context.Context, keeper *caclient.Keeper, url string) error {
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: keeper.ClientConfig()}, Timeout: time.Second}
	defer web.CloseIdleConnections()
	var none traffic
	none.servers, none.clients = map[string]bool{}, map[string]bool{}
	return none.ask(ctx, web, url)
}

// nginxConfig serves a page to clients of this CA, with all files in the site's
// folder.
func nginxConfig(s *site, tls string) string {
	temp := filepath.Join(s.work, "nginx")
	return `pid ` + temp + `.pid;
error_log ` + temp + `.log;
events {}
http {
	access_log off;
	client_body_temp_path ` + temp + `-body;
	proxy_temp_path ` + temp + `-proxy;
	fastcgi_temp_path ` + temp + `-fastcgi;
	uwsgi_temp_path ` + temp + `-uwsgi;
	scgi_temp_path ` + temp + `-scgi;
	server {
		listen ` + s.own + `:8444 ssl;
		ssl_certificate ` + tls + `/fullchain.pem;
		ssl_certificate_key ` + tls + `/key.pem;
		ssl_client_certificate ` + s.root + `;
		ssl_verify_client on;
		ssl_verify_depth 2;
		location / {
			default_type text/plain;
			return 200 "$ssl_client_serial";
		}
	}
}
`
}
