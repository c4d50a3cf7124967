package fault

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"chancery/internal/admin"
	"chancery/internal/archive"
	"chancery/internal/processtest"
	"chancery/internal/store"
	"chancery/internal/store/sqlite"
)

// authority is a CA in a directory of its own, and the process that serves it,
// when one does.
type authority struct {
	site
	dir     string
	program string   // the one that serves
	set     []string // settings of this server alone
	process *processtest.Process
}

// newAuthority creates a CA that finds the proofs of http-01 at the target.
func newAuthority(t *testing.T, proofs *target, settings ...string) *authority {
	t.Helper()
	return initialize(t, chancery, newNetwork().host(1), proofs, settings...)
}

// initialize creates a CA by some version of the program.
func initialize(t *testing.T, program, address string, proofs *target, settings ...string) *authority {
	t.Helper()
	a := &authority{site: site{base: "https://" + address, roots: x509.NewCertPool()}, dir: filepath.Join(t.TempDir(), "ca"), program: program}
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
	a.endWith(t)
	return a
}

// endWith has the server end with the test.
func (a *authority) endWith(t *testing.T) {
	t.Cleanup(func() {
		if a.process != nil {
			a.kill()
		}
	})
}

// chancery runs a command on the CA and returns what it printed.
func (a *authority) chancery(t *testing.T, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, a.program, append(args, "--dir", a.dir)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("chancery %s: %v\n%s%s", strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes()
}

// launch starts the server and does not wait for it.
func (a *authority) launch(t *testing.T) {
	t.Helper()
	args := []string{"serve", "--dir", a.dir}
	for _, setting := range a.set {
		args = append(args, "--set", setting)
	}
	var err error
	if a.process, err = processtest.Start(exec.Command(a.program, args...)); err != nil {
		t.Fatal(err)
	}
}

// start starts the server and waits until it is ready.
func (a *authority) start(t *testing.T) {
	t.Helper()
	a.launch(t)
	a.await(t, "the server to be ready", a.ready)
}

// await polls until ready returns nil, the server ends, or half a minute passes.
func (a *authority) await(t *testing.T, what string, ready func() error) {
	t.Helper()
	a.awaitFor(t, 30*time.Second, what, ready)
}

// awaitFor is await for other spans of time.
func (a *authority) awaitFor(t *testing.T, within time.Duration, what string, ready func() error) {
	t.Helper()
	if err := a.process.Await(what, within, ready); err != nil {
		t.Fatal(err)
	}
}

// kill ends the server as kill -9 does.
func (a *authority) kill() {
	a.process.Kill()
	a.process = nil
}

// terminate ends the server as systemd does, and returns how long that took. It
// must exit with 0.
func (a *authority) terminate(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	if err := a.process.End(syscall.SIGTERM); err != nil {
		t.Fatal(err)
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
