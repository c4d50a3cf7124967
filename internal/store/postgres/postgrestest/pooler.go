package postgrestest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"chancery/internal/processtest"
)

// NewPooler starts a PgBouncer in transaction mode before the server, for the
// time of the test. The function turns the URL of a database of the server into
// its URL by way of the PgBouncer.
func (s *Server) NewPooler(t testing.TB) func(url string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pgbouncer-") // t's own directory only its owner can enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"users": `"chancery" ""`,
		"pgbouncer.ini": fmt.Sprintf(`[databases]
* = host=127.0.0.1 port=%d

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = transaction
max_client_conn = 2000
default_pool_size = 8
server_idle_timeout = 1
server_login_retry = 1
`, s.Port, port, filepath.Join(dir, "users")),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := Give(dir); err != nil {
		t.Fatal(err)
	}
	cmd, err := Command("pgbouncer", filepath.Join(dir, "pgbouncer.ini"))
	if err != nil {
		t.Fatal(err)
	}
	process, err := processtest.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.End(syscall.SIGTERM) // its error is that it was ended so
		if t.Failed() {
			t.Logf("PgBouncer wrote:\n%s", process.Output())
		}
	})
	by := func(url string) string {
		return strings.Replace(url, fmt.Sprintf(":%d/", s.Port), fmt.Sprintf(":%d/", port), 1)
	}
	if err := process.Await("PgBouncer to answer", 10*time.Second, func() error {
		c, err := pgx.Connect(t.Context(), by(s.url("postgres"))+"&default_query_exec_mode=exec")
		if err != nil {
			return err
		}
		return c.Close(t.Context())
	}); err != nil {
		t.Fatal(err)
	}
	return by
}
