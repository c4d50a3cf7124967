// Package e2e runs real ACME clients against a real server: the programs that
// Debian ships and the libraries that Go programs use. It tests Chancery through
// its command line, its network interfaces and its Go package for clients only, so
// what passes here is what a user sees.
//
// Each server under test has loopback addresses of its own, so tests share no
// port and run side by side.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

// chancery is the path of the program under test, set once by TestMain.
var chancery string

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "chancery-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)

	chancery = filepath.Join(dir, "chancery")
	build := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-o", chancery, "./cmd/chancery")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "couldn't build the server: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}
