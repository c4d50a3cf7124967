package sqlite

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"chancery/internal/store/storetest"
)

// crashEnv names the store in which a child of TestKill works.
const crashEnv = "CHANCERY_TEST_CRASH_STORE"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashEnv); path != "" {
		crashChild(path)
	}
	// Most of rapid's steps wait for the disk: fewer than usual, unless told.
	if err := flag.Set("rapid.checks", "40"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// crashChild issues certificates until it is killed, and says so for each after
// the store has acknowledged it.
func crashChild(path string) {
	s, err := Open(context.Background(), Options{Path: path, Readers: 2})
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	t := &testing.T{} // only for its Error
	account := storetest.NewAccount(t)
	if _, _, err := s.CreateAccount(context.Background(), account); err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	for worker := range 8 {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("host%d-%d-%d.example", os.Getpid(), worker, i)
				id, _, err := storetest.Issue(t, s, account.ID, name)
				if err != nil {
					fmt.Println("failed:", err)
					os.Exit(1)
				}
				fmt.Printf("issued %s %s\n", name, id)
			}
		}()
	}
	select {}
}

// TestKill kills a process in the middle of load, 20 times, on one store.
func TestKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "chancery.db")
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		checkHolds(t, filepath.Dir(path), killOne(t, program, path))
	}
}

// killOne runs a child until it has issued some certificates, kills it, and
// returns what it had said until then.
func killOne(t *testing.T, program, path string) map[string]string {
	t.Helper()
	child := exec.CommandContext(t.Context(), program)
	child.Env = append(os.Environ(), crashEnv+"="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged, enough := map[string]string{}, 1+rand.IntN(30)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) != 3 || words[0] != "issued" {
			t.Errorf("the child says %q", lines.Text())
			continue
		}
		acknowledged[words[1]] = words[2]
		if len(acknowledged) == enough { // what it still says is in the pipe and counts too
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil || child.ProcessState.ExitCode() != -1 {
		t.Errorf("the child was not killed: %v", err)
	}
	return acknowledged
}
