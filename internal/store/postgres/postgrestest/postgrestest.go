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

	"chancery/internal/processtest"
)

// Server is a PostgreSQL of its own in a directory of its own.
type Server struct {
	dir, data string
	settings  []string // as in postgresql.conf
	Port      int      // on 127.0.0.1
	process   *processtest.Process
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
	s := &Server{dir: dir, data: filepath.Join(dir, "data"), settings: settings}
	if err := Give(dir); err != nil {
		return nil, err
	}
	initdb, err := Command("initdb", "-D", s.data, "-A", "trust", "-U", "chancery", "-E", "UTF8", "--locale=C.UTF-8")
	if err != nil {
		return nil, err
	}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	if s.Port, err = FreePort(); err != nil {
		return nil, err
	}
	return s, s.Start()
}

// FreePort is a port of 127.0.0.1 that nobody listens on.
func FreePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

// Programs is the directory of the programs of the newest PostgreSQL.
func Programs() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		return "", errors.New("there is no PostgreSQL server: install the package postgresql (scripts/install-test-deps)")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// Command is one of these programs, or of others that are installed, under an
// account that is not root's, which they refuse.
func Command(program string, args ...string) (*exec.Cmd, error) {
	path, err := find(program)
	if err != nil {
		return nil, err
	}
	uid, gid, err := account()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.Background(), path, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // so that what it has started ends, too
	if uid != os.Getuid() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return cmd, nil
}

// find looks for a program of PostgreSQL's, and then where all are. The PATH of
// people need not have those of the system.
func find(program string) (path string, err error) {
	programs, err := Programs()
	if err != nil {
		return "", err
	}
	if path, err := exec.LookPath(filepath.Join(programs, program)); err == nil {
		return path, nil
	}
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	return exec.LookPath(filepath.Join("/usr/sbin", program))
}

// Give makes a file or directory that of the account that commands run under.
func Give(path string) error {
	uid, gid, err := account()
	if err != nil || uid == os.Getuid() {
		return err
	}
	return os.Chown(path, uid, gid)
}

// account is the one that commands run under: postgres for root, and else the
// test's own.
func account() (uid, gid int, err error) {
	if os.Getuid() != 0 {
		return os.Getuid(), os.Getgid(), nil
	}
	found, err := user.Lookup("postgres")
	if err != nil {
		return 0, 0, err
	}
	uid, _ = strconv.Atoi(found.Uid)
	gid, _ = strconv.Atoi(found.Gid)
	return uid, gid, nil
}

// Start returns when the server answers. One that was killed leaves children
// behind, which end within moments; until then the next one gives up at once.
func (s *Server) Start() error {
	for deadline := time.Now().Add(30 * time.Second); ; {
		err := s.startOnce()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		<-time.After(50 * time.Millisecond)
	}
}

func (s *Server) startOnce() error {
	args := []string{"-D", s.data, "-k", s.dir, "-h", "127.0.0.1", "-p", strconv.Itoa(s.Port)}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	cmd, err := Command("postgres", args...)
	if err != nil {
		return err
	}
	if s.process, err = processtest.Start(cmd); err != nil {
		return err
	}
	return s.process.Await("PostgreSQL to answer", 30*time.Second, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		c, err := pgx.Connect(ctx, s.url("postgres"))
		if err != nil {
			return err
		}
		return c.Close(ctx)
	})
}

// Ended is closed when the server has ended since it was last started.
func (s *Server) Ended() <-chan struct{} { return s.process.Ended() }

// Stop ends the server by a signal.
func (s *Server) Stop(signal syscall.Signal) {
	_ = s.process.End(signal) // its error is that it was ended so
}

func (s *Server) url(database string) string {
	return fmt.Sprintf("postgres://chancery@127.0.0.1:%d/%s?sslmode=disable", s.Port, database)
}

// Database makes an empty database.
func (s *Server) Database(t testing.TB) (url string) {
	t.Helper()
	return s.url(s.create(t, "CREATE DATABASE"))
}

// Schema makes an empty schema, which is sooner done than a database, and as
// good for a store that nothing stands before.
func (s *Server) Schema(t testing.TB) (url string) {
	t.Helper()
	return s.url("postgres") + "&search_path=" + s.create(t, "CREATE SCHEMA")
}

func (s *Server) create(t testing.TB, what string) (name string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), s.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	name = "t" + strings.ToLower(rand.Text())
	if _, err := c.Exec(t.Context(), what+" "+name); err != nil {
		t.Fatal(err)
	}
	return name
}

// Remove ends the server and removes what it kept.
func (s *Server) Remove() error {
	s.Stop(syscall.SIGINT)
	return os.RemoveAll(s.dir)
}
