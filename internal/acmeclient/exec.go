package acmeclient

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"chancery/internal/folder"
)

// execTime is how long a command that is told of a renewal may take.
const execTime = time.Minute

// Tell runs the command for a certificate that is new: the one given or else
// that in the folder's record, if there is one. Until that has gone well the
// folder is marked (folder.IsUntold), also after a crash, so that it can be done
// later: who uses the old certificate would go on until it ends.
func Tell(ctx context.Context, dir, given string) error {
	command := given
	if command == "" {
		record, err := ReadRecord(dir)
		if err != nil {
			return err
		}
		command = record.Exec
	}
	if err := RunExec(ctx, command, dir); err != nil {
		return err
	}
	return folder.Told(dir)
}

// RunExec has the shell run a command, with the folder in CHANCERY_CERT_DIR. It
// is not interrupted with ctx: a program that is half reloaded is worse than
// one second more.
func RunExec(ctx context.Context, command, dir string) error {
	if command == "" {
		return nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("couldn't find out where %s is: %w", dir, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), execTime)
	defer cancel()
	shell := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	shell.Env = append(os.Environ(), "CHANCERY_CERT_DIR="+dir)
	if err := runGroup(shell); err != nil {
		return &Error{op: "run " + command, err: err, hint: "the certificate is renewed; the command was given with --exec"}
	}
	return nil
}

const maxCommandOutput = 1000

// runGroup runs a command in a process group of its own, so that its end ends
// all of it and an interruption of ours spares it. The error has what it wrote.
func runGroup(command *exec.Cmd) error {
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = time.Second
	err := command.Run()
	if said := strings.TrimSpace(output.String()); err != nil && said != "" {
		err = fmt.Errorf("%w: %.*s", err, maxCommandOutput, said)
	}
	return err
}
