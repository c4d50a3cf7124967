// Package docs runs the commands that README.md, docs/operating.md, docs/client.md
// and the pages of docs/how-to show, as they are written there, in the order they
// are written. It knows nothing of the program but those pages: a command that is
// shown and not run here fails the test, and so does one that is run here and no
// longer shown.
//
// The pages of docs/how-to are about other programs, at their usual places. They
// are run word for word, each on a machine of its own (see machine and beMachine).
package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestMain(m *testing.M) {
	if scratch := os.Getenv(inside); scratch != "" {
		if err := beMachine(scratch); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(run(m))
}

// bin is the directory of the program under test, set once by TestMain.
var bin string

func run(m *testing.M) (code int) {
	var err error
	if bin, err = os.MkdirTemp("", "chancery-docs-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(bin)

	build := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-o", filepath.Join(bin, "chancery"), "chancery/cmd/chancery")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "couldn't build the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}
