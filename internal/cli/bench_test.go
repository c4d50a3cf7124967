package cli_test

import (
	"context"
	"errors"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts have a CA that validates on ports of its own.
func TestBenchScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/bench",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("CHANCERY_VALIDATION_ALLOW", "127.0.0.0/8")
			return setupValidation(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready":  ready,
			"signal": sendSignal,
			"code":   code,
			"occupy": occupy,
			"issued": issued,
		},
	})
}

// issued DIR PROFILE waits until the CA in a directory has issued a
// certificate by that profile.
func issued(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: issued DIR PROFILE")
	}
	poll(ts, func(context.Context) error {
		err := ts.Exec("chancery", "certs", "list", "--dir", args[0], "--profile", args[1], "--limit", "1")
		if err == nil && ts.ReadFile("stdout") == "" {
			err = errors.New("there is none yet")
		}
		return err
	})
}
