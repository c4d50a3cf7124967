package cli_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

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
			env.Setenv("METADATA", metadataService(env))
			env.Setenv("UNSHARE", "-m")
			leaveAtOnce(env)
			if os.Geteuid() != 0 {
				env.Setenv("UNSHARE", "-rm")
			}
			port, err := freePort()
			env.Setenv("HTTP_PORT", port)
			env.Setenv("CHANCERY_VALIDATION_HTTP_PORT", port)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready":  ready,
			"signal": sendSignal,
			"code":   code,
			"mode":   mode,
			"lines":  lines,
			"ended":  ended,
		},
	})
}

// lines FILE N waits until a file has so many lines.
func lines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lines FILE N")
	}
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	poll(ts, func(context.Context) error {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if got := strings.Count(string(text), "\n"); err == nil && got < want {
			err = fmt.Errorf("%s has %d lines", args[0], got)
		}
		return err
	})
}

// ended FILE waits until a certificate is valid no more.
func ended(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ended FILE")
	}
	block, _ := pem.Decode([]byte(ts.ReadFile(args[0])))
	certificate, err := x509.ParseCertificate(block.Bytes)
	ts.Check(err)
	poll(ts, func(context.Context) error {
		if left := time.Until(certificate.NotAfter); left > 0 {
			return fmt.Errorf("it has %v left", left)
		}
		return nil
	})
}
