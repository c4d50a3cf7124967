package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/acmeclient"
)

func newCertRenew(a *app) *cobra.Command {
	var force, asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "renew FILE...",
		Short: "Renew certificates that \"cert issue\" has written, when they are due",
		Long: `Renew certificates that "chancery cert issue" has written. FILE is the
certificate or its directory. A certificate is due when the server says so (RFC
9773) or, when it does not say, after two thirds of its lifetime; run this daily.
When it has ended, the files are new: have the programs that use them read them
again.`,
		Args: func(_ *cobra.Command, files []string) error {
			if len(files) == 0 {
				return usagef("FILE is missing")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, files []string) error {
			return a.renew(cmd.Context(), files, force, asJSON, timeout)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "renew now")
	cmd.Flags().DurationVar(&timeout, "timeout", certTimeout, "how long each may take")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

// renew renews one after the other; a failure does not keep it from the others.
func (a *app) renew(ctx context.Context, files []string, force, asJSON bool, timeout time.Duration) error {
	var failed []error
	results := make([]certResult, 0, len(files))
	for _, file := range files {
		result, err := a.renewOne(ctx, file, force, timeout)
		if err != nil {
			result = certResult{Dir: file, Error: err.Error()}
			failed = append(failed, err)
		}
		results = append(results, result)
		if !asJSON {
			a.printRenewal(result, err, len(files))
		}
	}
	if asJSON {
		if err := printJSON(a.Out, results); err != nil {
			return err
		}
	}
	if len(files) > 1 && len(failed) > 0 {
		return fmt.Errorf("%d of %d certificates could not be renewed", len(failed), len(files))
	}
	return errors.Join(failed...)
}

func (a *app) renewOne(ctx context.Context, file string, force bool, timeout time.Duration) (certResult, error) {
	dir, err := acmeclient.FolderOf(file)
	if err != nil {
		return certResult{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	result, err := a.keeper().Renew(ctx, dir, force)
	if err != nil {
		return certResult{}, err
	}
	return viewResult(result), nil
}

func (a *app) printRenewal(r certResult, err error, of int) {
	switch {
	case err != nil && of == 1: // Main says it
	case err != nil:
		fmt.Fprintf(a.Err, "%s: %v\n", r.Dir, err)
		if hint := hintOf(err); hint != "" {
			fmt.Fprintf(a.Err, "hint: %s\n", hint)
		}
	case r.Renewed:
		fmt.Fprintf(a.Out, "%s: renewed, valid until %s\n", r.Dir, when(r.Certificate.NotAfter))
	default:
		fmt.Fprintf(a.Out, "%s: not due until %s, valid until %s\n", r.Dir, when(r.RenewAfter), when(r.Certificate.NotAfter))
	}
}
