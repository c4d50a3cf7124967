package cli_test

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// Tokens, what is got by them, and what clients need besides.
func TestTokenScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/token",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("CHANCERY_LISTEN", "127.0.0.1:0")
			env.Setenv("CHANCERY_HTTP_LISTEN", "")
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("JAVA_HOME", "")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready":  ready,
			"signal": sendSignal,
			"code":   code,
			"mode":   mode,
			"serial": serialOf,
		},
	})
}
