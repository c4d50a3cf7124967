package fault

import (
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"chancery/internal/processtest"
)

// previousVersion is the commit of the version that this one must be able to
// replace while it runs.
//
//go:embed previous-version
var previousVersion string

// TestUpgrade replaces the nodes of the previous version by this one, one after
// the other, in the middle of load. The first migrates the database while the
// other still works with it.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	proofs := newTarget(t)
	c := newCluster(t, buildPrevious(t), proofs, newDatabase(t), 2)
	c.unsteady = false // the nodes of that version know their own nonces only
	f := newTraffic(t, &c.site, proofs, 4)
	for _, node := range c.nodes {
		f.await(t, 20)
		node.terminate(t)
		f.await(t, 5)
		node.program = chancery
		node.start(t)
		f.await(t, 20)
	}
	c.check(t, f)
}

// buildPrevious builds the previous version. A checkout without its history
// has only this one, which must be able to replace itself, too.
func buildPrevious(t *testing.T) (program string) {
	t.Helper()
	source := t.TempDir()
	commit := strings.TrimSpace(previousVersion)
	archive := filepath.Join(source, "source.tar")
	if out, err := exec.Command("git", "-C", "../..", "archive", "--output", archive, commit).CombinedOutput(); err != nil {
		t.Logf("the previous version is not in this checkout, so this one is upgraded to itself: %v: %s", err, out)
		return chancery
	}
	if out, err := exec.Command("tar", "-x", "-C", source, "-f", archive).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	must(t, os.Remove(archive))
	program, err := processtest.Build(t.TempDir(), source)
	must(t, err)
	return program
}
