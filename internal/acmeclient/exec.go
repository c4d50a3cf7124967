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
)

// execTime is how long a command that is told of a renewal may take.
const execTime = time.Minute

// ExecOf is the command to run when the certificate in a folder has been
// renewed: the one given or else the record's. "" for none.
func ExecOf(dir, given string) (string, error) {
	if given != "" {
		return given, nil
	}
	record, err := ReadRecord(dir)
	return record.Exec, err
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
