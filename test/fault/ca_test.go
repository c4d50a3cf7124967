package fault

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
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

	"chancery/internal/admin"
	"chancery/internal/archive"
	"chancery/internal/store"
	"chancery/internal/store/sqlite"
)

// authority is a CA in a directory of its own, and the process that serves it,
// when one does.
type authority struct {
	dir     string
	base    string // https://HOST:PORT
	roots   *x509.CertPool
	process *process
}

// authorities counts those made by this process.
var authorities atomic.Uint32

// newAuthority creates a CA that finds the proofs of http-01 at the target. It
// listens on a loopback address that no other test has, below the ports that
// the system gives to connections, so that it can always come back to it.
func newAuthority(t *testing.T, proofs *target, settings ...string) *authority {
	t.Helper()
	address := fmt.Sprintf("127.%d.%d.1:9443", 10+os.Getpid()%200, 200+authorities.Add(1))
	a := &authority{dir: filepath.Join(t.TempDir(), "ca"), base: "https://" + address, roots: x509.NewCertPool()}
	args := []string{"init", "--listen", address}
	for _, setting := range append([]string{
		"http_listen=", "validation.allow=127.0.0.0/8", fmt.Sprintf("validation.http_port=%d", proofs.port),
	}, settings...) {
		args = append(args, "--set", setting)
	}
	a.chancery(t, args...)
	root, err := os.ReadFile(filepath.Join(a.dir, "root.pem"))
	if err != nil || !a.roots.AppendCertsFromPEM(root) {
		t.Fatalf("the new CA has no root: %v", err)
	}
	t.Cleanup(func() {
		if a.process != nil {
			a.kill(t)
		}
	})
	return a
}

// chancery runs a command on the CA and returns what it printed.
func (a *authority) chancery(t *testing.T, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, chancery, append(args, "--dir", a.dir)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("chancery %s: %v\n%s%s", strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes()
}

// process is a server. err can be read when ended is closed.
type process struct {
	cmd   *exec.Cmd
	log   *tail
	ended chan struct{}
	err   error
}

// launch starts the server and does not wait for it.
func (a *authority) launch(t *testing.T) {
	t.Helper()
	p := &process{cmd: exec.Command(chancery, "serve", "--dir", a.dir), log: new(tail), ended: make(chan struct{})}
	p.cmd.Stderr = p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	a.process = p
}

// start starts the server and waits until it is ready.
func (a *authority) start(t *testing.T) {
	t.Helper()
	a.launch(t)
	a.await(t, "the server to be ready", a.ready)
}

// ready asks the server whether it is.
func (a *authority) ready() error {
	if status, body := a.get("/readyz"); status != http.StatusOK {
		return fmt.Errorf("status %d: %s", status, body)
	}
	return nil
}

// get asks the server for a page; the status is 0 when it does not answer.
func (a *authority) get(path string) (status int, body string) {
	client := &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.roots}, DisableKeepAlives: true},
		Timeout:   10 * time.Second,
	}
	resp, err := client.Get(a.base + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(read)
}

// await polls until ready returns nil, the server ends, or half a minute passes.
func (a *authority) await(t *testing.T, what string, ready func() error) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-a.process.ended:
			t.Fatalf("while waiting for %s the server ended: %v\n%s", what, a.process.err, a.process.log)
		case <-deadline:
			t.Fatalf("waited in vain for %s: %v\n%s", what, err, a.process.log)
		}
	}
}

// kill ends the server as kill -9 does.
func (a *authority) kill(t *testing.T) {
	t.Helper()
	if err := a.process.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	<-a.process.ended
	a.process = nil
}

// terminate ends the server as systemd does, and returns how long that took. It
// must exit with 0.
func (a *authority) terminate(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	if err := a.process.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-a.process.ended:
	case <-time.After(30 * time.Second):
		t.Fatalf("still running 30 s after SIGTERM\n%s", a.process.log)
	}
	if a.process.err != nil {
		t.Fatalf("after SIGTERM the server ended with %v\n%s", a.process.err, a.process.log)
	}
	a.process = nil
	return time.Since(began)
}

// certificates is the inventory by serial, as operators see it.
func (a *authority) certificates(t *testing.T) map[string]admin.Certificate {
	t.Helper()
	return listed(t, a.chancery(t, "certs", "list", "--json"), func(c admin.Certificate) string { return c.Serial })
}

// orders are all orders by id, as operators see them.
func (a *authority) orders(t *testing.T) map[string]admin.Order {
	t.Helper()
	return listed(t, a.chancery(t, "orders", "list", "--json"), func(o admin.Order) string { return o.ID })
}

func listed[T any](t *testing.T, text []byte, key func(T) string) map[string]T {
	t.Helper()
	var items []T
	if err := json.Unmarshal(text, &items); err != nil {
		t.Fatalf("couldn't read a listing: %v", err)
	}
	found := make(map[string]T, len(items))
	for _, item := range items {
		if _, twice := found[key(item)]; twice {
			t.Errorf("%s is listed twice", key(item))
		}
		found[key(item)] = item
	}
	return found
}

// database is the store's file.
func (a *authority) database() string { return filepath.Join(a.dir, "chancery.db") }

// crashed looks at what a killed server left on the disk, at a copy so that the
// next server finds it as it was. The file must be sound; the intents in it
// are returned.
func (a *authority) crashed(t *testing.T) []store.Intent {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.db")
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(a.database() + suffix)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(path+suffix, content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return examine(t, path)
}

// settled fails the test unless the store of the running server is sound and
// has no intent left.
func (a *authority) settled(t *testing.T) {
	t.Helper()
	path, dir := filepath.Join(t.TempDir(), "backup"), t.TempDir()
	a.chancery(t, "backup", path)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	backup, err := archive.Open(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	if err := backup.Extract(dir); err != nil {
		t.Fatal(err)
	}
	if left := examine(t, filepath.Join(dir, archive.Database)); len(left) > 0 {
		t.Errorf("%d intents are not settled: %v", len(left), serials(left))
	}
}

// examine opens a store that nobody uses, checks it, and returns its intents.
func examine(t *testing.T, path string) []store.Intent {
	t.Helper()
	database, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()
	if err := database.CheckIntegrity(t.Context()); err != nil {
		t.Error(err)
	}
	intents, err := database.Intents(t.Context(), time.Now().AddDate(100, 0, 0), 1000)
	if err != nil {
		t.Fatal(err)
	}
	return intents
}

func serials(intents []store.Intent) []string {
	list := make([]string, len(intents))
	for i, intent := range intents {
		list[i] = intent.Serial.String()
	}
	return list
}

// tail keeps the end of what a process writes.
type tail struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

func (b *tail) Write(p []byte) (int, error) {
	const keep = 16 << 10
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	if len(b.text) > 2*keep {
		b.text = append([]byte(nil), b.text[len(b.text)-keep:]...)
	}
	return len(p), nil
}

func (b *tail) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}
