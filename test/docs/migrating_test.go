package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chancery/internal/store/postgres/postgrestest"
)

// TestMigrating moves a CA into PostgreSQL and back as docs/migrating.md tells it.
func TestMigrating(t *testing.T) {
	t.Parallel()
	server, err := postgrestest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Remove() })
	p := newPlace(t)
	here := p.address + ":9443"
	p.output(t, "chancery init --dir lib --listen "+here+" --set http_listen="+p.address+":9480")
	p.output(t, "chancery eab create --name kept --dir lib")
	p.write(t, "password", []byte("secret\n"))
	url := server.Database(t)
	change := []string{
		"/var/lib/chancery", "lib", "/etc/chancery/database-password", "password",
		"postgres://chancery@db.corp.example/chancery?sslmode=verify-full", url,
	}
	follow(t, p, "docs/migrating.md", []step{
		{
			command: "chancery migrate --from sqlite:/var/lib/chancery " +
				"--to 'postgres://chancery@db.corp.example/chancery?sslmode=verify-full' --password-file /etc/chancery/database-password",
			change: change, want: "both stores have the same",
		},
		{command: "mv /var/lib/chancery/chancery.db /var/lib/chancery/chancery.db.migrated", change: change},
		{
			command: "chancery serve --dir /var/lib/chancery", change: change, serves: here,
			prepare: func() []string { p.inPostgreSQL(t, url); return nil }, want: "serving",
		},
		{
			command: "chancery migrate --from 'postgres://chancery@db.corp.example/chancery?sslmode=verify-full' " +
				"--password-file /etc/chancery/database-password --to sqlite:/var/lib/chancery",
			change: change, prepare: func() []string { p.stop(t); return nil }, want: "now remove store.url and store.password_file from lib/chancery.yaml",
		},
	})
}

// inPostgreSQL sets in chancery.yaml what the page says.
func (p *place) inPostgreSQL(t *testing.T, url string) {
	t.Helper()
	path := filepath.Join("lib", "chancery.yaml")
	text, err := os.ReadFile(filepath.Join(p.dir, path))
	if err != nil {
		t.Fatal(err)
	}
	unset := "  # url: \"\"\n"
	if !strings.Contains(string(text), unset) {
		t.Fatalf("chancery.yaml has no %q", unset)
	}
	p.write(t, path, []byte(strings.Replace(string(text), unset, "  url: "+url+"\n  password_file: ../password\n", 1)))
}
