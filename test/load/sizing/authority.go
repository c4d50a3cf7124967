package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"chancery/internal/processtest"
	"chancery/internal/store/postgres/postgrestest"
)

// result is what chancery bench acme --json prints, and more.
type result struct {
	Issued    int            `json:"issued"`
	Failed    int            `json:"failed"`
	PerSecond float64        `json:"per_second"`
	P50       float64        `json:"p50_ms"`
	P99       float64        `json:"p99_ms"`
	CPU       float64        `json:"cpu_ms_per_certificate"`
	PeakRSS   float64        `json:"peak_rss_mb"`
	Errors    map[string]int `json:"errors"`
	database  float64        // CPU of PostgreSQL, ms a certificate
	start     time.Duration  // until the CA answered
	bytes     float64        // the store grew by, for each certificate
	log       float64        // bytes that PostgreSQL wrote to its log, for each certificate
}

// authority is a CA in a directory of its own, and its database.
type authority struct {
	program, dir string
	database     *postgrestest.Server // nil for SQLite
	listen, http string
	dns, target  string
}

// measure loads a new CA.
func (s *sizing) measure(ctx context.Context, parent, engine, clients, accounts string) (r result, err error) {
	a, err := s.newAuthority(ctx, parent, engine)
	if err != nil {
		return r, err
	}
	defer a.remove()
	server, err := a.serve(ctx) // for the first time, which makes the issuers known to the store
	if err == nil {
		err = server.End(syscall.SIGTERM)
	}
	began := time.Now()
	if err == nil {
		server, err = a.serve(ctx)
	}
	if err != nil {
		return r, err
	}
	r.start = time.Since(began)
	before, size, log := a.databaseCPU(), a.size(), a.databaseLog()
	//nolint:gosec // the program that was just built
	load := exec.CommandContext(ctx, s.program, "bench", "acme", "--server", "https://"+a.listen, "--root", filepath.Join(a.dir, "root.pem"),
		"--http", a.target, "--dns", a.dns, "--clients", clients, "--accounts", accounts, "--for", s.span.String(),
		"--pid", strconv.Itoa(server.Pid()), "--json")
	load.Stderr = os.Stderr
	text, err := load.Output()
	if err != nil {
		return r, fmt.Errorf("couldn't load: %w\n%s", err, server.Output())
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, err
	}
	r.database = float64((a.databaseCPU() - before).Microseconds()) / 1000 / float64(r.Issued)
	r.bytes, r.log = float64(a.size()-size)/float64(r.Issued), float64(a.databaseLog()-log)/float64(r.Issued)
	return r, server.End(syscall.SIGTERM)
}

func (s *sizing) newAuthority(ctx context.Context, parent, engine string) (*authority, error) {
	dir, err := os.MkdirTemp(parent, "ca-")
	if err != nil {
		return nil, err
	}
	a := &authority{program: s.program, dir: filepath.Join(dir, "ca")}
	for _, address := range []*string{&a.listen, &a.http, &a.dns, &a.target} {
		if *address, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	if err := a.command(ctx, "init", a.settings()...); err != nil {
		return nil, err
	}
	if s.stored > 0 {
		if err := s.fill(ctx, a); err != nil {
			return nil, err
		}
	}
	if engine == "sqlite" {
		return a, nil
	}
	database, err := os.MkdirTemp(parent, "pg-")
	if err != nil {
		return nil, err
	}
	if a.database, err = postgrestest.NewIn(database); err != nil || s.stored == 0 { // with the settings it is installed with
		return a, err
	}
	return a, a.command(ctx, "migrate", "--from", "sqlite:"+a.dir, "--to", a.databaseURL())
}

// remove ends what runs and removes what is stored.
func (a *authority) remove() {
	if a.database != nil {
		_ = a.database.Remove()
	}
	_ = os.RemoveAll(filepath.Dir(a.dir))
}

func (a *authority) settings() []string {
	_, port, _ := net.SplitHostPort(a.target)
	list := []string{
		"--dir", a.dir, "--set", "listen=" + a.listen, "--set", "http_listen=" + a.http, "--set", "validation.http_port=" + port,
		"--set", "validation.allow=127.0.0.0/8", "--set", "validation.resolvers=" + a.dns,
	}
	if a.database != nil {
		list = append(list, "--set", "store.url="+a.databaseURL())
	}
	return list
}

func (a *authority) databaseURL() string {
	return fmt.Sprintf("postgres://chancery@127.0.0.1:%d/postgres?sslmode=disable", a.database.Port)
}

// command runs the program to its end.
func (a *authority) command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, a.program, append([]string{name}, args...)...).CombinedOutput() //nolint:gosec // just built
	if err != nil {
		return fmt.Errorf("chancery %s: %w\n%s", name, err, out)
	}
	return nil
}

// serve starts the CA and returns when it answers.
func (a *authority) serve(ctx context.Context) (*processtest.Process, error) {
	process, err := processtest.Start(exec.CommandContext(ctx, a.program, append([]string{"serve"}, a.settings()...)...)) //nolint:gosec // just built
	if err != nil {
		return nil, err
	}
	return process, process.Await("the CA", time.Minute, func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.http+"/readyz", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("it is not ready: %s", resp.Status)
		}
		return nil
	})
}

func freeAddress() (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// size is how large the store is, without its logs.
func (a *authority) size() int64 {
	if a.database != nil {
		return a.databaseSize()
	}
	info, err := os.Stat(filepath.Join(a.dir, "chancery.db"))
	if err != nil {
		return 0
	}
	return info.Size()
}

// databaseCPU is what PostgreSQL's processes have used: those that run, and
// those that have ended.
func (a *authority) databaseCPU() (sum time.Duration) {
	if a.database == nil {
		return 0
	}
	main := a.databasePID()
	folders, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range folders {
		text, err := os.ReadFile(path)
		_, after, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(after)
		if err != nil || len(fields) < 15 {
			continue
		}
		pid := filepath.Base(filepath.Dir(path))
		if pid != main && fields[1] != main {
			continue
		}
		for i, field := range fields[11:15] { // utime, stime, and those of children that have ended
			ticks, _ := strconv.ParseInt(field, 10, 64)
			if i < 2 || pid == main {
				sum += time.Duration(ticks) * 10 * time.Millisecond
			}
		}
	}
	return sum
}
