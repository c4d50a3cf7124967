package transfer_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"chancery/internal/store/storetest"
	"chancery/internal/store/transfer"
)

// What a child process migrates.
const (
	childFrom = "CHANCERY_TEST_MIGRATE_FROM"
	childTo   = "CHANCERY_TEST_MIGRATE_TO"
)

// beChild migrates until it is killed or done, and says at each step how far it
// is.
func beChild(from, to string) {
	ctx := context.Background()
	if err := migrateChild(ctx, from, to); err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func migrateChild(ctx context.Context, from, to string) error {
	source, err := open(ctx, from, false)
	if err != nil {
		return err
	}
	destination, err := open(ctx, to, true)
	if err != nil {
		return err
	}
	m := transfer.Migration{From: source, To: destination, Progress: func(p transfer.Progress) { fmt.Println(p.Step, p.Kind, p.Done) }}
	_, err = m.Run(ctx)
	return err
}

// TestKill kills a migration again and again, each time a little later, until it
// is through, and then looks whether all is there.
func TestKill(t *testing.T) {
	t.Parallel()
	source := some(t, 550)
	destination := database(t)
	t.Run("into postgres", func(t *testing.T) { migrateKilled(t, source, destination) })
	t.Run("into sqlite", func(t *testing.T) { migrateKilled(t, destination, file(t)) })
}

func migrateKilled(t *testing.T, from, to string) {
	t.Helper()
	resumed := 0
	for lines := rand.IntN(8); ; lines += 1 + rand.IntN(16) {
		done, again := killAfter(t, from, to, lines)
		if again {
			resumed++
		}
		if done {
			break
		}
	}
	if resumed < 2 {
		t.Errorf("it went on %d times only", resumed)
	}
	storetest.Compare(t, mustOpen(t, from, false).store, mustOpen(t, to, false).store)
}

// killAfter kills a child once it has said so much, and reports whether it had
// migrated all before, and whether it went on with what another had begun.
func killAfter(t *testing.T, from, to string, lines int) (done, resumed bool) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), program)
	child.Env = append(os.Environ(), childFrom+"="+from, childTo+"="+to)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	said := 0
	for text := bufio.NewScanner(out); text.Scan(); said++ {
		if strings.HasPrefix(text.Text(), "failed:") {
			t.Error(text.Text())
		}
		resumed = resumed || strings.HasPrefix(text.Text(), string(transfer.Resuming))
		if said == lines {
			_ = child.Process.Kill() // it may have ended
		}
	}
	err = child.Wait()
	if code := child.ProcessState.ExitCode(); code > 0 {
		t.Fatal(err)
	}
	return err == nil, resumed
}
