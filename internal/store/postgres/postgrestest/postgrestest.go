// Package postgrestest runs PostgreSQL servers for tests: the real thing, from
// the system's package, as it is installed, with its data in a directory of its
// own. It is not for anything but tests.
package postgrestest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a PostgreSQL of its own in a directory of its own.
type Server struct {
	bin, dir, data string
	settings       []string            // as in postgresql.conf
	Port           int                 // on 127.0.0.1
	account        *syscall.Credential // nil is the test's own: PostgreSQL does not run as root
	process        *exec.Cmd
	ended          chan struct{} // closed when process has ended
}

// New makes a cluster and starts it, with fsync on, as it is installed.
func New() (*Server, error) {
	dir, err := os.MkdirTemp("/tmp", "pg-") // short, for the socket's name
	if err != nil {
		return nil, err
	}
	return NewIn(dir, "max_connections=300", "shared_buffers=64MB", "max_wal_size=256MB")
}

// NewIn makes a cluster in an empty directory, with settings as they are
// written in postgresql.conf, and starts it.
func NewIn(dir string, settings ...string) (*Server, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		return nil, errors.New("there is no PostgreSQL server: install the package postgresql (scripts/install-test-deps)")
	}
	s := &Server{bin: filepath.Dir(found[len(found)-1]), dir: dir, data: filepath.Join(dir, "data"), settings: settings}
	if os.Getuid() == 0 {
		if err := s.leaveRoot(); err != nil {
			return nil, err
		}
	}
	initdb := s.command("initdb", "-D", s.data, "-A", "trust", "-U", "chancery", "-E", "UTF8", "--locale=C.UTF-8")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.Port = listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		return nil, err
	}
	return s, s.Start()
}

// leaveRoot makes the directory that of the account postgres.
func (s *Server) leaveRoot() error {
	account, err := user.Lookup("postgres")
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	s.account = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(s.dir, uid, gid)
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.account, Pdeathsig: syscall.SIGQUIT}
	return cmd
}

// Start returns when the server answers. One that was killed leaves children
// behind, which end within moments; until then the next one gives up at once.
func (s *Server) Start() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		err := s.startOnce(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		<-time.After(50 * time.Millisecond)
	}
}

func (s *Server) startOnce(ctx context.Context) error {
	args := []string{"-D", s.data, "-k", s.dir, "-h", "127.0.0.1", "-p", strconv.Itoa(s.Port)}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	s.process = s.command("postgres", args...)
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	s.process.Stderr = log
	if err := s.process.Start(); err != nil {
		return err
	}
	s.ended = make(chan struct{})
	go func(process *exec.Cmd, ended chan struct{}) {
		_ = process.Wait()
		close(ended)
	}(s.process, s.ended)
	for {
		c, err := pgx.Connect(ctx, s.url("postgres"))
		if err == nil {
			return c.Close(ctx)
		}
		select {
		case <-s.ended:
			return fmt.Errorf("the server has ended; its log is %s", log.Name())
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Ended is closed when the server has ended since it was last started.
func (s *Server) Ended() <-chan struct{} { return s.ended }

// Stop ends the server by a signal.
func (s *Server) Stop(signal os.Signal) {
	_ = s.process.Process.Signal(signal)
	<-s.ended
}

func (s *Server) url(database string) string {
	return fmt.Sprintf("postgres://chancery@127.0.0.1:%d/%s?sslmode=disable", s.Port, database)
}

// Database makes an empty database.
func (s *Server) Database(t testing.TB) (url string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), s.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	name := "t" + strings.ToLower(rand.Text())
	if _, err := c.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return s.url(name)
}

// Remove ends the server and removes what it kept.
func (s *Server) Remove() error {
	s.Stop(syscall.SIGINT)
	return os.RemoveAll(s.dir)
}
