package cli_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"chancery/internal/admin"
	"chancery/internal/cli"
)

// The transcripts run the test binary itself as "chancery".
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"chancery": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		code := cli.Main(ctx, cli.Env{Args: os.Args[1:], Environ: os.Environ(), In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
		stop()
		os.Exit(code)
	}})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			// Ports that the system chooses, so that scripts run side by side.
			env.Setenv("CHANCERY_LISTEN", "127.0.0.1:0")
			env.Setenv("CHANCERY_HTTP_LISTEN", "127.0.0.1:0")
			leaveAtOnce(env)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready":  ready,
			"signal": sendSignal,
			"code":   code,
			"occupy": occupy,
			"mode":   mode,
			"await":  await,
		},
	})
}

// leaveAtOnce spares the commands the second that the race detector sleeps at
// the end of each process, for what others might still do.
func leaveAtOnce(env *testscript.Env) { env.Setenv("GORACE", "atexit_sleep_ms=0") }

// ready DIR waits until the server on a directory is ready, and sets $URL to
// where it is reached.
func ready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready DIR")
	}
	client := admin.Dial(ts.MkAbs(filepath.Join(args[0], "admin.sock")))
	defer client.Close()
	poll(ts, func(ctx context.Context) error {
		status, err := client.Status(ctx)
		if err == nil && !status.Ready {
			err = errors.New(status.Reason)
		}
		if err == nil {
			ts.Setenv("URL", strings.TrimSuffix(status.DirectoryURL, "/acme/directory"))
		}
		return err
	})
}

// signal NAME DIR sends a signal to the server on a directory.
func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: signal NAME DIR")
	}
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP}
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(filepath.Join(args[1], "lock"))))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, signals[args[0]]))
}

// code N ARGS… runs chancery and expects an exit code.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: code N ARGS...")
	}
	err := ts.Exec("chancery", args[1:]...)
	got := "0"
	if exit, ok := err.(interface{ ExitCode() int }); ok {
		got = string(rune('0' + exit.ExitCode()))
	}
	if got != args[0] {
		ts.Fatalf("chancery %s: exit code %s, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// occupy NAME takes a port for the length of the script, and sets $NAME to it.
func occupy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: occupy NAME")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = listener.Close() })
	ts.Setenv(args[0], listener.Addr().String())
}

// mode PERM FILE… checks the permissions of files.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mode PERM FILE...")
	}
	for _, file := range args[1:] {
		info, err := os.Lstat(ts.MkAbs(file))
		ts.Check(err)
		if got := info.Mode().Perm().String(); got != args[0] {
			ts.Fatalf("%s has mode %s, want %s", file, got, args[0])
		}
	}
}

// await DIR PATH TEXT waits until a page of the server on a directory has a
// text in it.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: await DIR PATH TEXT")
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ts.ReadFile(filepath.Join(args[0], "root.pem"))))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	poll(ts, func(context.Context) error {
		answer, err := client.Get(ts.Getenv("URL") + args[1])
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err == nil && !strings.Contains(string(body), args[2]) {
			err = fmt.Errorf("the page is %s", body)
		}
		return err
	})
}

// poll tries until there is no error, or half a minute has passed.
func poll(ts *testscript.TestScript, try func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("waited in vain: %v", err)
		case <-ticker.C:
		}
	}
}
