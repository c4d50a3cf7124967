package cli_test

import (
	"context"
	"fmt"
	"regexp"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"chancery/internal/store/postgres/postgrestest"
)

// TestMigrateScripts has a PostgreSQL server with the empty databases $FIRST and
// $SECOND, for each script.
func TestMigrateScripts(t *testing.T) {
	t.Parallel()
	server, err := postgrestest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Remove(); err != nil {
			t.Error(err)
		}
	})
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/migrate",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("CHANCERY_LISTEN", "127.0.0.1:0")
			env.Setenv("CHANCERY_HTTP_LISTEN", "127.0.0.1:0")
			env.Setenv("FIRST", server.Database(t))
			env.Setenv("SECOND", server.Database(t))
			leaveAtOnce(env)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready": ready, "signal": sendSignal, "code": code, "mode": mode, "sql": sql, "until": until,
		},
	})
}

// until REGEXP ARGS… runs chancery until what it prints matches.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP ARGS...")
	}
	wanted := regexp.MustCompile(args[0])
	poll(ts, func(context.Context) error {
		if err := ts.Exec("chancery", args[1:]...); err != nil {
			return err
		}
		if printed := ts.ReadFile("stdout"); !wanted.MatchString(printed) {
			return fmt.Errorf("it prints %s", printed)
		}
		return nil
	})
}

// sql URL STATEMENT changes a database behind its users' backs.
func sql(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sql URL STATEMENT")
	}
	ctx := context.Background()
	c, err := pgx.Connect(ctx, args[0])
	ts.Check(err)
	_, err = c.Exec(ctx, args[1])
	ts.Check(err)
	ts.Check(c.Close(ctx))
}
