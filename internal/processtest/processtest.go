// Package processtest builds the program that users run, and runs it and what
// it depends on in processes of their own, for tests that watch them from
// outside and end them in all the ways there are. No process outlives the one
// that started it. It is not for anything but tests.
package processtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Build builds the program from the module that source lies in, "." for this
// one, and returns its path in dir.
func Build(dir, source string) (path string, err error) {
	path = filepath.Join(dir, "chancery")
	build := exec.CommandContext(context.Background(), "go", "build", "-C", source, "-buildvcs=false", "-trimpath", "-o", path, "chancery/cmd/chancery")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("couldn't build the program: %w\n%s", err, out)
	}
	return path, nil
}

// Main is what a TestMain does whose tests run the program: it builds that in a
// directory that is there while they run, and returns the exit code.
func Main(m *testing.M, use func(path string)) (code int) {
	dir, err := os.MkdirTemp("", "chancery-")
	if err == nil {
		defer os.RemoveAll(dir)
		var path string
		if path, err = Build(dir, "."); err == nil {
			use(path)
			return m.Run()
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// Process is a program that runs until it is ended. Its methods may be called
// by any goroutine.
type Process struct {
	cmd   *exec.Cmd
	log   tail
	ended chan struct{} // closed when err is set
	err   error
}

// Start starts a command whose output, both streams, the Process keeps the end
// of. It dies with the test's process, at the latest.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	if cmd.SysProcAttr.Pdeathsig == 0 {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	cmd.WaitDelay = time.Second // children of one that was killed may hold its output
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the process dies with the thread that started it
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("couldn't start: %w", err)
	}
	return p, nil
}

// Pid is the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Output is the end of what it wrote so far.
func (p *Process) Output() string { return p.log.String() }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Await polls until ready returns nil. The error says what it waited for in
// vain: the process has ended, or so much time has passed.
func (p *Process) Await(what string, within time.Duration, ready func() error) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(within)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return fmt.Errorf("while waiting for %s the process ended: %w\n%s", what, p.err, p.Output())
		case <-deadline:
			return fmt.Errorf("waited %s in vain for %s: %w\n%s", within, what, err, p.Output())
		}
	}
}

// End sends a signal and waits for the end, which comes by SIGKILL after half a
// minute. The error is that of the process: nil when it exited with 0.
func (p *Process) End(signal syscall.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("it still ran 30 s after %s\n%s", signal, p.Output())
	}
	if p.err != nil {
		return fmt.Errorf("after %s it ended with %w\n%s", signal, p.err, p.Output())
	}
	return nil
}

// Kill ends the process as kill -9 does.
func (p *Process) Kill() { _ = p.End(syscall.SIGKILL) } // its error is that it was killed

// tail keeps the end of what a process writes.
type tail struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

func (b *tail) Write(p []byte) (int, error) {
	const keep = 16 << 10
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	if len(b.text) > 2*keep {
		b.text = append([]byte(nil), b.text[len(b.text)-keep:]...)
	}
	return len(p), nil
}

func (b *tail) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}
