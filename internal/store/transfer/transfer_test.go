package transfer_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"chancery/internal/store"
	"chancery/internal/store/postgres"
	"chancery/internal/store/postgres/postgrestest"
	"chancery/internal/store/sqlite"
	"chancery/internal/store/storetest"
	"chancery/internal/store/transfer"
)

var (
	server      *postgrestest.Server // one for all tests
	serverError error
	serverOnce  sync.Once
)

func TestMain(m *testing.M) {
	if from := os.Getenv(childFrom); from != "" {
		beChild(from, os.Getenv(childTo))
	}
	flag.Parse()
	_ = flag.Set("rapid.checks", "2") // each is a migration there and back
	_ = flag.Set("rapid.steps", "60")
	code := m.Run()
	if server != nil {
		_ = server.Remove()
	}
	os.Exit(code)
}

// database is the URL of an empty one.
func database(t testing.TB) string {
	t.Helper()
	serverOnce.Do(func() { server, serverError = postgrestest.New() })
	if serverError != nil {
		t.Fatal(serverError)
	}
	return server.Database(t)
}

// movable is a store of any engine.
type movable struct {
	transfer.Destination
	store store.Store
}

// open opens the store in a database, or in a file.
func open(ctx context.Context, place string, transferring bool) (*movable, error) {
	if strings.HasPrefix(place, "postgres:") {
		s, err := postgres.Open(ctx, postgres.Options{URL: place, Connections: 4, Transferring: transferring})
		if err != nil {
			return nil, err
		}
		return &movable{s.Transfer(), s}, nil
	}
	s, err := sqlite.Open(ctx, sqlite.Options{Path: place, Readers: 2, Transferring: transferring})
	if err != nil {
		return nil, err
	}
	return &movable{s.Transfer(), s}, nil
}

func mustOpen(t testing.TB, place string, transferring bool) *movable {
	t.Helper()
	s, err := open(t.Context(), place, transferring)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.store.Close() })
	return s
}

func file(t testing.TB) string { return filepath.Join(t.TempDir(), "chancery.db") }

// run migrates.
func run(ctx context.Context, from transfer.Source, to transfer.Destination) ([]transfer.Result, error) {
	m := transfer.Migration{From: from, To: to, Progress: func(transfer.Progress) {}}
	return m.Run(ctx)
}

// migrate moves what is in one place into another.
func migrate(t testing.TB, from, to string) []transfer.Result {
	t.Helper()
	source, destination := mustOpen(t, from, false), mustOpen(t, to, true)
	results, err := run(t.Context(), source, destination)
	if err := errors.Join(err, source.store.Close(), destination.store.Close()); err != nil {
		t.Fatal(err)
	}
	return results
}

// TestThereAndBack fills a store, moves it to the other engine and back, and
// asks all three the same questions.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		first, second, third := file(t), database(t), file(t)
		s := mustOpen(t, first, false)
		storetest.Fill(t, rt, s.store)
		if err := s.store.Close(); err != nil {
			t.Fatal(err)
		}
		there, back := migrate(t, first, second), migrate(t, second, third)
		for i, result := range there {
			if result.Sum.Count == 0 {
				t.Errorf("no %s were moved", result.Kind)
			}
			if back[i] != result {
				t.Errorf("%+v came back as %+v", result, back[i])
			}
		}
		s = mustOpen(t, first, false)
		storetest.Compare(t, s.store, mustOpen(t, second, false).store)
		storetest.Compare(t, s.store, mustOpen(t, third, false).store)
	})
}

// some is a file with an account and its certificates.
func some(t testing.TB, n int) string {
	t.Helper()
	path := file(t)
	fill(t, path, n)
	return path
}

func fill(t testing.TB, path string, certificates int) {
	t.Helper()
	s := mustOpen(t, path, false)
	storetest.IssueMany(t, s.store, certificates)
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRefuses checks what is no destination, and who may open one.
func TestRefuses(t *testing.T) {
	t.Parallel()
	for name, place := range map[string]string{"sqlite": file(t), "postgres": database(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, destination := mustOpen(t, some(t, 3), false), mustOpen(t, place, true)
			if _, err := destination.Begin(t.Context(), "another"); err != nil {
				t.Fatal(err)
			}
			if _, err := run(t.Context(), source, destination); !errors.Is(err, transfer.ErrOtherSource) {
				t.Errorf("another migration is %v", err)
			}
			if _, err := open(t.Context(), place, false); !errors.Is(err, transfer.ErrUnfinished) {
				t.Errorf("opening it is %v", err)
			}
			if _, err := run(t.Context(), destination, source); !errors.Is(err, transfer.ErrUnfinished) {
				t.Errorf("moving from it is %v", err)
			}
			if err := destination.End(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := run(t.Context(), source, destination); err != nil {
				t.Errorf("an empty store is %v", err)
			}
			if _, err := run(t.Context(), source, destination); !errors.Is(err, transfer.ErrNotEmpty) {
				t.Errorf("a full store is %v", err)
			}
			mustOpen(t, place, false)
		})
	}
}

// TestOvertaken lets two processes store the same page.
func TestOvertaken(t *testing.T) {
	t.Parallel()
	for name, place := range map[string]string{"sqlite": file(t), "postgres": database(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, destination := mustOpen(t, some(t, 1), false), mustOpen(t, place, true)
			var accounts *transfer.Kind
			for _, kind := range transfer.Kinds() {
				if kind.Name == "accounts" {
					accounts = kind
				}
			}
			rows, err := source.Page(t.Context(), accounts, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []error{nil, transfer.ErrOvertaken} {
				if err := destination.Put(t.Context(), accounts, rows, nil, []byte("now")); !errors.Is(err, want) {
					t.Errorf("the error is %v, want %v", err, want)
				}
			}
		})
	}
}

// TestSourceInUse has a node alive on the database to move from.
func TestSourceInUse(t *testing.T) {
	t.Parallel()
	source, destination := mustOpen(t, database(t), false), mustOpen(t, file(t), true)
	nodes := source.store.(store.Nodes)
	if err := nodes.SeeNode(t.Context(), store.Node{ID: "node", Name: "ca-1"}); err != nil {
		t.Fatal(err)
	}
	_, err := run(t.Context(), source, destination)
	if !errors.Is(err, transfer.ErrInUse) || !strings.Contains(err.Error(), "ca-1") {
		t.Errorf("the error is %v", err)
	}
	if err := nodes.RemoveNode(t.Context(), "node"); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t.Context(), source, destination); err != nil {
		t.Error(err)
	}
}

// TestDifferent changes a record in the destination before it is checked.
func TestDifferent(t *testing.T) {
	t.Parallel()
	url := database(t)
	source, destination := mustOpen(t, some(t, 3), false), mustOpen(t, url, true)
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	for _, test := range []struct{ sql, want string }{
		{"UPDATE certificates SET der = der || 'x'::bytea WHERE serial IN (SELECT serial FROM certificates LIMIT 1)", "certificates: 3 with"},
		{"DELETE FROM orders WHERE id = (SELECT max(id) FROM orders)", "orders: 3 with"},
	} {
		m := transfer.Migration{From: source, To: destination, Progress: func(p transfer.Progress) {
			if p.Step == transfer.Building {
				if _, err := c.Exec(t.Context(), test.sql); err != nil {
					t.Error(err)
				}
			}
		}}
		_, err = m.Run(t.Context())
		if !errors.Is(err, transfer.ErrDifferent) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("the error is %v, want %s", err, test.want)
		}
	}
	if _, err := open(t.Context(), url, false); !errors.Is(err, transfer.ErrUnfinished) {
		t.Errorf("opening it is %v", err)
	}
}
