package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Ports are the same at every site, because each has addresses of its own.
const (
	httpsPort     = "9443" // the server's ACME listener
	plainPort     = "9480" // the server's plain listener
	dnsPort       = "9053" // the site's name server
	challengePort = "5002" // where http-01 is answered
	alpnPort      = "5001" // where tls-alpn-01 is answered
)

// site is one server under test and the network around it.
type site struct {
	ca  string // address of the CA and of the name server
	web string // address of the web server that answers for *.www.example.test
	own string // address that clients listen on themselves, *.own.example.test

	dir       string // the CA's directory
	work      string // scratch space, also HOME of the programs
	directory string // URL of the ACME directory
	root      string // file of the root certificate

	webroot    string // files that the web server serves
	challenges string // the folder of webroot for http-01
	alpn       *alpnServer
	txt        string // TXT records: a folder a name, a file a value

	server *process
}

// sites counts those made by this process.
var sites atomic.Uint32

// newSite reserves addresses and folders and starts the name server and the web
// server. Processes that run at the same time get different networks.
func newSite(t *testing.T) *site {
	t.Helper()
	network := fmt.Sprintf("127.%d.%d.", 10+os.Getpid()%200, sites.Add(1))
	work := t.TempDir()
	s := &site{
		ca:      network + "1",
		web:     network + "2",
		own:     network + "3",
		work:    work,
		dir:     filepath.Join(work, "ca"),
		root:    filepath.Join(work, "ca", "root.pem"),
		webroot: filepath.Join(work, "www"),
		txt:     filepath.Join(work, "txt"),
	}
	s.directory = "https://" + s.ca + ":" + httpsPort + "/acme/directory"
	s.challenges = filepath.Join(s.webroot, ".well-known", "acme-challenge")
	for _, dir := range []string{s.challenges, s.txt} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	serveNames(t, s)
	s.alpn = serveTargets(t, s)
	return s
}

// start makes a site and its CA with `chancery up`, with more settings as
// key=value, and waits until it is ready. At the end of the test the server is
// asked to stop, and must do so without an error.
func start(t *testing.T, settings ...string) *site {
	t.Helper()
	s := newSite(t)
	s.serve(t, "up", settings...)
	return s
}

// serve runs `chancery up` or `chancery serve` and waits until it is ready.
func (s *site) serve(t *testing.T, command string, settings ...string) {
	t.Helper()
	args := []string{
		command, "--dir", s.dir, "--listen", s.ca + ":" + httpsPort,
		"--set", "names=" + s.ca, "--set", "http_listen=" + s.ca + ":" + plainPort,
		"--set", "validation.http_port=" + challengePort,
		"--set", "validation.tls_port=" + alpnPort,
		"--set", "validation.resolvers=" + s.ca + ":" + dnsPort,
		"--set", "validation.retry_interval=1s",
	}
	for _, setting := range settings {
		args = append(args, "--set", setting)
	}
	s.server = s.launch(t, chancery, args...)
	s.await(t, s.server, "the server to be ready", func() error { return s.get("/readyz") })
}

// get asks the server for a page over HTTPS and expects 200.
func (s *site) get(path string) error {
	client, err := s.httpClient()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	resp, err := client.Get("https://" + s.ca + ":" + httpsPort + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", path, resp.Status, body)
	}
	return err
}

// httpClient trusts the site's root and nothing else.
func (s *site) httpClient() (*http.Client, error) {
	roots, err := s.roots()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}, nil
}

// trusting is httpClient for the length of a test.
func (s *site) trusting(t *testing.T) *http.Client {
	t.Helper()
	client, err := s.httpClient()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func (s *site) roots() (*x509.CertPool, error) {
	data, err := os.ReadFile(s.root)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("no certificate in %s", s.root)
	}
	return roots, nil
}

// await polls until ready returns nil, the process ends, or half a minute passes.
func (s *site) await(t *testing.T, process *process, what string, ready func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-process.ended:
			t.Fatalf("while waiting for %s the process ended: %v", what, process.err)
		case <-deadline:
			t.Fatalf("waited in vain for %s: %v", what, err)
		}
	}
}

// chancery runs an administrative command on the site's CA and returns what it
// printed.
func (s *site) chancery(t *testing.T, args ...string) string {
	t.Helper()
	return s.run(t, nil, chancery, args...)
}

// run runs a program, adding env to its environment, and returns its standard
// output. It must end well, and within a minute.
func (s *site) run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	stdout, stderr, err := s.try(t, env, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s\n%s", name, strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}

// try is run for a program that may fail.
func (s *site) try(t *testing.T, env []string, name string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = s.work
	cmd.Env = append(s.environ(), env...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// environ keeps the programs away from the home folder of whoever runs the tests.
// TXT and WEBROOT are for the hooks in testdata.
func (s *site) environ() []string {
	return append(os.Environ(), "HOME="+s.work, "TXT="+s.txt, "WEBROOT="+s.webroot)
}

// process is a program that runs beside the test.
type process struct {
	cmd   *exec.Cmd
	log   *lockedBuffer
	ended chan struct{} // closed when the program has ended and err is set
	err   error
}

// launch starts a program. At the end of the test it is stopped with SIGTERM; it
// must then exit with 0 within 15 seconds. When the test failed, what it wrote is
// shown.
func (s *site) launch(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), log: new(lockedBuffer), ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = s.work, s.environ()
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Errorf("%s didn't stop as asked: %v", filepath.Base(name), err)
		}
		if t.Failed() {
			t.Logf("%s wrote:\n%s", filepath.Base(name), p.log)
		}
	})
	return p
}

// stop ends the program with SIGTERM. It may be called again.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return p.err
	case <-time.After(15 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return errors.New("still running 15 s after SIGTERM")
	}
}

// lockedBuffer collects what a process writes while a test may read it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
