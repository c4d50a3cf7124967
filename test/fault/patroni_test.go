package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"chancery/internal/processtest"
	"chancery/internal/store/postgres/postgrestest"
)

// pair is two PostgreSQL servers that Patroni keeps as a primary and a
// synchronous standby. What was committed is on both.
type pair struct {
	dir     string
	etcd    int // port of the store in which Patroni agrees who is the primary
	members []*member
}

// member is one of the two.
type member struct {
	name          string
	dir           string
	database, api int // ports
	patroni       *processtest.Process
}

// ttl is how long a primary is missed before the standby takes its place. Patroni
// takes no less.
const ttl = 20

func newPair(t *testing.T) *pair {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pair-") // short, for the names of sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, postgrestest.Give(dir))
	p := &pair{dir: dir, etcd: freePort(t)}
	p.startEtcd(t)
	for _, name := range []string{"a", "b"} {
		m := &member{name: name, dir: filepath.Join(dir, name), database: freePort(t), api: freePort(t)}
		must(t, os.Mkdir(m.dir, 0o700))
		must(t, postgrestest.Give(m.dir))
		must(t, os.WriteFile(m.file(), []byte(p.configuration(t, m)), 0o644))
		p.members = append(p.members, m)
		m.start(t)
		t.Cleanup(func() { m.kill() })
		m.await(t, "the server to be up", func() error { return m.ask("health") })
	}
	p.awaitBoth(t)
	return p
}

// startEtcd starts an etcd of one node.
func (p *pair) startEtcd(t *testing.T) {
	t.Helper()
	client, peer := fmt.Sprintf("http://127.0.0.1:%d", p.etcd), fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	cmd, err := postgrestest.Command("etcd", "--data-dir", filepath.Join(p.dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	must(t, err)
	etcd, err := processtest.Start(cmd)
	must(t, err)
	t.Cleanup(etcd.Kill)
	must(t, etcd.Await("etcd to answer", 30*time.Second, func() error { return fetch(client + "/health") }))
}

// configuration is Patroni's, as its documentation has it for synchronous
// replication in which the primary does not go on alone.
func (p *pair) configuration(t *testing.T, m *member) string {
	t.Helper()
	programs, err := postgrestest.Programs()
	must(t, err)
	text, err := json.Marshal(map[string]any{ // which is YAML
		"scope": "ca", "name": m.name,
		"restapi": map[string]any{"listen": m.address(m.api), "connect_address": m.address(m.api)},
		"etcd3":   map[string]any{"host": m.address(p.etcd)},
		"bootstrap": map[string]any{
			"dcs": map[string]any{
				"ttl": ttl, "loop_wait": 1, "retry_timeout": 3,
				"synchronous_mode": true, "synchronous_mode_strict": true,
				"postgresql": map[string]any{"use_pg_rewind": true, "parameters": map[string]any{"max_connections": 60, "wal_log_hints": "on"}},
			},
			"initdb": []any{map[string]any{"encoding": "UTF8"}, map[string]any{"locale": "C.UTF-8"}},
		},
		"postgresql": map[string]any{
			"listen": m.address(m.database), "connect_address": m.address(m.database),
			"data_dir": filepath.Join(m.dir, "data"), "bin_dir": programs, "pgpass": filepath.Join(m.dir, "pgpass"),
			"authentication": map[string]any{
				"superuser":   map[string]any{"username": "chancery"},
				"replication": map[string]any{"username": "replicator"},
				"rewind":      map[string]any{"username": "chancery"},
			},
			"pg_hba":     []string{"local all all trust", "host all all 127.0.0.0/8 trust", "host replication all 127.0.0.0/8 trust"},
			"parameters": map[string]any{"unix_socket_directories": m.dir, "shared_buffers": "32MB"},
		},
	})
	must(t, err)
	return string(text)
}

func (m *member) file() string { return filepath.Join(m.dir, "patroni.yml") }

func (m *member) address(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// start starts Patroni, which starts the server.
func (m *member) start(t *testing.T) {
	t.Helper()
	cmd, err := postgrestest.Command("patroni", m.file())
	must(t, err)
	m.patroni, err = processtest.Start(cmd)
	must(t, err)
}

// kill kills Patroni and the server, as a machine does that loses its power.
func (m *member) kill() {
	m.patroni.Kill()
	text, err := os.ReadFile(filepath.Join(m.dir, "data", "postmaster.pid"))
	if err != nil {
		return
	}
	first, _, _ := strings.Cut(string(text), "\n")
	if pid, err := strconv.Atoi(first); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// ask asks Patroni about its server: "health", "primary" or "sync".
func (m *member) ask(what string) error {
	return fetch("http://" + m.address(m.api) + "/" + what)
}

func (m *member) await(t *testing.T, what string, ready func() error) {
	t.Helper()
	must(t, m.patroni.Await(what, time.Minute, ready))
}

// primary is the one of the two that is, and the other.
func (p *pair) primary(t *testing.T) (primary, standby *member) {
	t.Helper()
	primary, standby = p.members[0], p.members[1]
	if standby.ask("primary") == nil {
		primary, standby = standby, primary
	}
	must(t, primary.ask("primary"))
	return primary, standby
}

// awaitBoth returns when one is primary and the other its synchronous standby.
func (p *pair) awaitBoth(t *testing.T) {
	t.Helper()
	p.members[1].await(t, "the standby to be synchronous", func() error {
		return errors.Join(p.eitherIs("primary"), p.eitherIs("sync"))
	})
}

func (p *pair) eitherIs(what string) error {
	first := p.members[0].ask(what)
	if first == nil {
		return nil
	}
	return p.members[1].ask(what)
}

// newDatabase makes an empty database and returns its URL, by which whichever
// is the primary is reached.
func (p *pair) newDatabase(t *testing.T) string {
	t.Helper()
	url := func(name string) string {
		return fmt.Sprintf("postgres://chancery@%s,%s/%s?sslmode=disable&target_session_attrs=read-write",
			p.members[0].address(p.members[0].database), p.members[1].address(p.members[1].database), name)
	}
	c, err := pgx.Connect(t.Context(), url("postgres"))
	must(t, err)
	defer func() { _ = c.Close(context.Background()) }()
	_, err = c.Exec(t.Context(), "CREATE DATABASE ca")
	must(t, err)
	return url("ca")
}

// fetch asks for a page; the error is nil when the answer is 200.
func fetch(url string) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

func freePort(t *testing.T) int {
	t.Helper()
	port, err := postgrestest.FreePort()
	must(t, err)
	return port
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestFailover takes the primary of a pair away in the middle of load. The
// standby takes its place, and waits, as it was told, until it has a standby
// itself: the one that was the primary.
func TestFailover(t *testing.T) {
	t.Parallel()
	proofs, p := newTarget(t), newPair(t)
	c := newCluster(t, chancery, proofs, p.newDatabase(t), 2)
	f := newTraffic(t, &c.site, proofs, 4)
	f.await(t, 20)
	primary, standby := p.primary(t)
	primary.kill()
	began := time.Now()
	standby.await(t, "the standby to be the primary", func() error { return standby.ask("primary") })
	t.Logf("the standby was the primary after %s", time.Since(began))
	primary.start(t)
	f.await(t, 20)
	t.Logf("all went on after %s", time.Since(began))
	p.awaitBoth(t)
	c.check(t, f)
}
