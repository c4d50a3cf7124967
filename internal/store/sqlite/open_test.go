package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

// rawConn opens a database without anything of this package's.
func rawConn(t *testing.T, path string) *sqlite3.Conn {
	t.Helper()
	c, err := sqlite3.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func rawExec(t *testing.T, path, sql string) {
	t.Helper()
	c := rawConn(t, path)
	if err := errors.Join(c.Exec(sql), c.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	path := func(name string) string { return filepath.Join(t.TempDir(), name) }
	text, other, foreign, newer := path("text"), path("other"), path("foreign"), path("newer")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	rawExec(t, other, "CREATE TABLE t (x)")
	rawExec(t, foreign, "PRAGMA application_id = 12345")
	rawExec(t, newer, "PRAGMA application_id = 1128809305; PRAGMA user_version = 9999; CREATE TABLE t (x)")
	for file, want := range map[string]string{
		text:                                "it is not a database",
		other:                               "it is the database of another program",
		foreign:                             "it is the database of another program",
		newer:                               "it was written by a newer version of chancery (schema 9999, this one knows",
		filepath.Join(path("none"), "file"): "no such file or directory",
		t.TempDir():                         "is a directory",
	} {
		before, _ := os.ReadFile(file)
		_, err := Open(t.Context(), Options{Path: file})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("opening %s: %v, want %q", file, err, want)
		}
		if after, _ := os.ReadFile(file); string(after) != string(before) {
			t.Errorf("%s was changed", file)
		}
	}
}

func TestFilesAreTheirOwnersOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chancery.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path+suffix, info, err)
		}
	}
}

func TestSettingsAreSafe(t *testing.T) {
	s := openTest(t)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "wal_autocheckpoint": "1000"} {
		got := ""
		if err := s.writer.conn.once(func(r *row) { got = r.text() }, "PRAGMA "+pragma); err != nil || got != want {
			t.Errorf("%s is %q, want %q (%v)", pragma, got, want, err)
		}
	}
	_, err := read(t.Context(), s, "write", func(c *conn) (struct{}, error) {
		_, err := c.exec(updatePing, time.Now())
		return struct{}{}, err
	})
	if !errors.Is(err, sqlite3.READONLY) {
		t.Errorf("a reader could write: %v", err)
	}
}

// TestStrangePaths checks that no character of a path is read as part of a URI.
func TestStrangePaths(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b?vfs=none#%41&mode=ro")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, path := range []string{filepath.Join(dir, "c%20?d.db"), "e:f%20?g.db", "./-"} {
		s, err := Open(t.Context(), Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Ping(t.Context()), s.Close()); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// openVersion opens a file with the data in testdata as that schema left it.
func openVersion(t *testing.T, version int) *Store {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("testdata/version%d.sql", version))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Options{Path: fileOfVersion(t, version, string(data))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// fileOfVersion makes a file with that schema and some data.
func fileOfVersion(t *testing.T, version int, data string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "chancery.db")
	steps, err := form.Migrations(migrations)
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for _, name := range steps[:version] {
		schema, err := migrations.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		script.Write(schema)
	}
	script.WriteString(data)
	rawExec(t, path, fmt.Sprintf("%sPRAGMA application_id = 1128809305; PRAGMA user_version = %d;", script.String(), version))
	return path
}

// TestVersion1 opens a file as the first schema left it. Every released schema
// has a test like this one.
func TestVersion1(t *testing.T) { checkVersion1(t, openVersion(t, 1)) }

func checkVersion1(t *testing.T, s *Store) {
	ctx := t.Context()
	account, err := s.AccountByKey(ctx, "thumbprint")
	if err != nil || account.Contact[0] != "mailto:a@example.com" || account.BindingID != "binding" {
		t.Errorf("account %+v, %v", account, err)
	}
	order, err := s.Order(ctx, "order")
	if err != nil || order.Status(time.Now()) != store.OrderValid || len(order.Authorizations) != 2 || order.Authorizations[0].Attempts[1].Failure == nil {
		t.Errorf("order %+v, %v", order, err)
	}
	list, err := s.ListCertificates(ctx, store.CertificateQuery{Name: "a.example", Status: store.CertificateRevoked})
	if err != nil || len(list) != 1 || list[0].Revocation.Reason != 1 {
		t.Errorf("certificates %+v, %v", list, err)
	}
	intents, err := s.Intents(ctx, time.Now(), 10)
	if err != nil || len(intents) != 1 || string(intents[0].TBS) != "tbs" {
		t.Errorf("intents %+v, %v", intents, err)
	}
	issuers, err := s.Issuers(ctx)
	if err != nil || len(issuers) != 1 || string(issuers[0].Chain[1]) != "root" || issuers[0].Alternates != nil {
		t.Errorf("issuers %+v, %v", issuers, err)
	}
	binding, err := s.Binding(ctx, "binding")
	if err != nil || binding.Uses != 1 || !binding.SingleUse || !binding.Grant.IsZero() {
		t.Errorf("binding %+v, %v", binding, err)
	}
	if authz := order.Authorizations[0]; authz.GrantID != "" || authz.Subdomains {
		t.Errorf("authorization %+v", authz)
	}
}

func TestLockDir(t *testing.T) {
	dir := t.TempDir()
	held, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = LockDir(dir)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "process "+pidText()) {
		t.Errorf("locked twice: %v", err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := LockDir(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("locked what is not there: %v", err)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Options{Path: filepath.Join(t.TempDir(), "db")}); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
