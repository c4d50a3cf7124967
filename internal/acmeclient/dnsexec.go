package acmeclient

import (
	"context"
	"fmt"
	"os/exec"

	"github.com/mholt/acmez/v3/acme"
)

// dnsSolver has a command set and remove the TXT records of dns-01 (RFC 8555
// §8.4). It is run by the shell with three more arguments: "present" or
// "cleanup", the record's name without a final dot, and its value. It returns
// when the record can be seen.
type dnsSolver struct{ command string }

func (s dnsSolver) method() string { return acme.ChallengeTypeDNS01 }

func (s dnsSolver) present(ctx context.Context, c acme.Challenge) error {
	return s.run(ctx, "present", c)
}

func (s dnsSolver) cleanUp(ctx context.Context, c acme.Challenge) error {
	return s.run(ctx, "cleanup", c)
}

func (s dnsSolver) close() error { return nil }

func (s dnsSolver) run(ctx context.Context, action string, c acme.Challenge) error {
	name, value := c.DNS01TXTRecordName(), c.DNS01KeyAuthorization()
	command := exec.CommandContext(ctx, "/bin/sh", "-c", s.command+` "$@"`, "sh", action, name, value) //nolint:gosec // the operator's command
	if err := runGroup(command); err != nil {
		return fmt.Errorf("couldn't run %s %s %s: %w", s.command, action, name, err)
	}
	return nil
}
