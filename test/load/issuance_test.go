// Package load measures a whole issuance: the program that users run, in a
// process of its own, under clients that do all that ACME asks for over real
// sockets, each certificate for a name that was not seen before.
package load

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
	"chancery/internal/store/postgres/postgrestest"
)

// clients work at once, each with an account and kept connections of its own.
const clients = 16

// BenchmarkIssuance proves a new address by http-01 for each certificate.
// server-ms/cert is the CPU time of the CA's process alone, of all its cores;
// the clients and the targets of the validation run in this one, and PostgreSQL
// in its own.
func BenchmarkIssuance(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { issue(b) })
	b.Run("postgres", func(b *testing.B) {
		server, err := postgrestest.New()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = server.Remove() })
		issue(b, "--set", "store.url="+server.Schema(b))
	})
}

func issue(b *testing.B, settings ...string) {
	ca := startCA(b, settings...)
	workers := make([]*acmetest.Client, clients)
	for i := range workers {
		workers[i] = ca.register(b)
	}
	target := serveKeyAuthorizations(b, ca.httpPort)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	var next, failed atomic.Int64
	before, mallocs := ca.cpu(b), ca.mallocs(b)
	b.ResetTimer()
	var work sync.WaitGroup
	for _, worker := range workers {
		work.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				names := acmetest.IP(address(n))
				_, err := worker.Issue(context.Background(), names, key, "http-01", target.expect(worker))
				if err != nil {
					failed.Add(1)
					b.Error(err)
				}
			}
		})
	}
	work.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "certs/s")
	b.ReportMetric(float64((ca.cpu(b)-before).Microseconds())/1000/float64(b.N), "server-ms/cert")
	b.ReportMetric((ca.mallocs(b)-mallocs)/float64(b.N), "server-allocs/cert")
	b.ReportMetric(float64(failed.Load()), "failures")
}

// address is the n-th of the loopback addresses from 127.1.0.0 on.
func address(n int64) string {
	return fmt.Sprintf("127.%d.%d.%d", 1+n>>16&0x7f, n>>8&0xff, n&0xff)
}

// target answers http-01 for all loopback addresses.
type target struct{ thumbprints sync.Map } // token to key authorization

func (t *target) expect(*acmetest.Client) acmetest.Solver {
	return func(_ *acmetest.Authorization, challenge acmetest.Challenge, keyAuthorization string) {
		t.thumbprints.Store(challenge.Token, keyAuthorization)
	}
}

func serveKeyAuthorizations(b *testing.B, port int) *target {
	t := &target{}
	listener, err := net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, _ := t.thumbprints.LoadAndDelete(filepath.Base(r.URL.Path))
		text, _ := answer.(string)
		_, _ = w.Write([]byte(text))
	})}
	go func() { _ = server.Serve(listener) }()
	b.Cleanup(func() { _ = server.Close() })
	return t
}

// ca is the program under load.
type ca struct {
	process      *os.Process
	directoryURL string
	metricsURL   string
	httpPort     int
	roots        *x509.CertPool
}

func startCA(b *testing.B, more ...string) *ca {
	dir := b.TempDir()
	binary := filepath.Join(dir, "chancery")
	run(b, exec.Command("go", "build", "-o", binary, "chancery/cmd/chancery"))
	data := filepath.Join(dir, "ca")
	listen, metrics := freeAddress(b), freeAddress(b)
	_, port, _ := net.SplitHostPort(freeAddress(b))
	settings := append([]string{
		"--dir", data, "--set", "listen=" + listen, "--set", "http_listen=" + freeAddress(b), "--set", "metrics_listen=" + metrics,
		"--set", "validation.http_port=" + port, "--set", "validation.allow=127.0.0.0/8",
	}, more...)
	run(b, exec.Command(binary, append([]string{"init"}, settings...)...))
	serve := exec.Command(binary, append([]string{"serve"}, settings...)...)
	if err := serve.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = serve.Process.Signal(syscall.SIGTERM)
		if err := serve.Wait(); err != nil {
			b.Errorf("the CA ended badly: %v", err)
		}
	})
	root, err := os.ReadFile(filepath.Join(data, "root.pem"))
	if err != nil {
		b.Fatal(err)
	}
	c := &ca{process: serve.Process, directoryURL: "https://" + listen + "/acme/directory", metricsURL: "http://" + metrics + "/metrics", roots: x509.NewCertPool()}
	c.roots.AppendCertsFromPEM(root)
	c.httpPort, _ = strconv.Atoi(port)
	return c
}

func run(b *testing.B, command *exec.Cmd) {
	b.Helper()
	if output, err := command.CombinedOutput(); err != nil {
		b.Fatalf("%v: %v\n%s", command, err, output)
	}
}

func freeAddress(b *testing.B) string {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// register makes a client with an account, as soon as the CA answers.
func (c *ca) register(b *testing.B) *acmetest.Client {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	httpClient := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.roots}}}
	client, err := acmetest.NewClient(ctx, httpClient, c.directoryURL)
	for err != nil && ctx.Err() == nil {
		client, err = acmetest.NewClient(ctx, httpClient, c.directoryURL)
	}
	if err == nil {
		_, err = client.Register(ctx, nil)
	}
	if err != nil {
		b.Fatal(err)
	}
	return client
}

// cpu is the CPU time the CA has used, in steps of the kernel's clock tick of
// 10 ms.
func (c *ca) cpu(b *testing.B) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after)
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// mallocs is how many objects the CA has allocated.
func (c *ca) mallocs(b *testing.B) float64 {
	resp, err := http.Get(c.metricsURL)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	body := new(strings.Builder)
	if err := resp.Write(body); err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(body.String()) {
		if value, found := strings.CutPrefix(line, "go_memstats_mallocs_total "); found {
			count, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return count
		}
	}
	b.Fatal("the metrics have no go_memstats_mallocs_total")
	return 0
}
