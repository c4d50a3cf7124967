package docs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// machine is a Linux machine of the reader's, in namespaces of its own: it has
// the programs of the one that runs the tests, ports and files for itself, the CA
// as ca.corp.example, and trusts its root.
type machine struct {
	pid int // of its first process, seen from outside
}

// asRoot is put before commands that only root may run.
func asRoot() []string {
	if os.Getuid() == 0 {
		return nil
	}
	return []string{"sudo", "-n"}
}

// newMachine starts a machine, which ends with the test.
func newMachine(t *testing.T) *machine {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	systemctl, err := filepath.Abs("testdata/systemctl")
	if err != nil {
		t.Fatal(err)
	}
	args := append(asRoot(), "unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child",
		"env", inside+"="+t.TempDir(), "CHANCERY_DOCS_PROGRAM="+filepath.Join(bin, "chancery"), "CHANCERY_DOCS_SYSTEMCTL="+systemctl, self)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait() // killed with the machine, or not: it is gone
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the machine doesn't start (its tests need root, and namespaces): %q %v", line, err)
	}
	m := &machine{pid: child(t, cmd.Process.Pid, len(args))}
	m.trust(t)
	return m
}

// child finds the first process of a machine below the one that was started.
func child(t *testing.T, pid, depth int) int {
	t.Helper()
	for range depth {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil {
			t.Fatal(err)
		}
		first, _, more := strings.Cut(strings.TrimSpace(string(children)), " ")
		if first == "" || more {
			return pid
		}
		if pid, err = strconv.Atoi(first); err != nil {
			t.Fatal(err)
		}
	}
	return pid
}

// command makes a line ready to run on the machine, by bash as root.
func (m *machine) command(ctx context.Context, line string) *exec.Cmd {
	args := append(asRoot(), "nsenter", "--target", strconv.Itoa(m.pid), "--mount", "--net", "--pid", "--ipc", "--uts",
		"env", "-i", "HOME=/root", "LANG=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"bash", "-euo", "pipefail", "-c", "cd; "+line)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.WaitDelay = time.Second // a server that it started may keep its output open
	return cmd
}

// try runs a line and returns what it wrote.
func (m *machine) try(ctx context.Context, line string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	out, err := m.command(ctx, line).CombinedOutput()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return string(out), err
}

// run is try for what must succeed.
func (m *machine) run(t *testing.T, line string) string {
	t.Helper()
	out, err := m.try(t.Context(), line)
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return out
}

// write makes a file on the machine.
func (m *machine) write(t *testing.T, path, content string) {
	t.Helper()
	cmd := m.command(t.Context(), fmt.Sprintf("mkdir -p %q && cat > %q", filepath.Dir(path), path))
	cmd.Stdin = strings.NewReader(content)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("couldn't write %s: %v\n%s", path, err, out)
	}
}

// await runs a line until it succeeds.
func (m *machine) await(t *testing.T, line string) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		out, err := m.try(t.Context(), line)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
}

// trust makes the CA, starts it, and has the machine trust its root, as
// docs/how-to/trust.md says, but without the scripts that take long.
func (m *machine) trust(t *testing.T) {
	t.Helper()
	m.run(t, "chancery init --dir /var/lib/chancery --name ca.corp.example --permit corp.example,10.0.0.0/8 --listen "+caAddress+":9443 &&"+
		"cp /var/lib/chancery/root.pem /usr/local/share/ca-certificates/chancery.crt && cp /var/lib/chancery/root.pem /root &&"+
		"cat /var/lib/chancery/root.pem >> /etc/ssl/certs/ca-certificates.crt")
	m.serve(t)
}

// serve starts the CA. Its log is shown when the test fails.
func (m *machine) serve(t *testing.T) {
	t.Helper()
	ca := m.command(context.Background(), "exec chancery serve --dir /var/lib/chancery")
	log := new(bytes.Buffer)
	ca.Stdout, ca.Stderr = log, log
	if err := ca.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = m.try(context.Background(), "pkill -TERM -f '^chancery serve'") // on this machine, where pids are its own
		_ = ca.Wait()
		if t.Failed() {
			t.Logf("the CA wrote:\n%s", log)
		}
	})
	m.await(t, "curl -sSf https://ca.corp.example:9443/readyz")
}
