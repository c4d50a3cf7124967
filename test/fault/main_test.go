// Package fault breaks a running Chancery: it kills the process in the middle of
// its work, stops it, takes its disk away, and points it at targets that never
// answer. It uses the program that users run, in a process of its own, and holds
// what clients were told against what is there afterwards. Loss of power, which
// takes what was not synced, is tested with the store.
package fault

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
	dir, err := os.MkdirTemp("", "chancery-fault-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)

	chancery = filepath.Join(dir, "chancery")
	build := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-o", chancery, "chancery/cmd/chancery")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "couldn't build the server: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}
