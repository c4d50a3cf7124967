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
	"path/filepath"
	"testing"

	"chancery/internal/processtest"
)

func TestMain(m *testing.M) {
	if scratch := os.Getenv(inside); scratch != "" {
		if err := beMachine(scratch); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(processtest.Main(m, func(path string) { bin = filepath.Dir(path) }))
}

// bin is the directory of the program under test, set once by TestMain.
var bin string
