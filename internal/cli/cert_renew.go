package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/acmeclient"
	"chancery/internal/folder"
)

// renewFlags are what "cert renew" is told.
type renewFlags struct {
	force, daemonize, asJSON bool
	exec                     string
	timeout                  time.Duration
}

func newCertRenew(a *app) *cobra.Command {
	f := &renewFlags{}
	cmd := &cobra.Command{
		Use:   "renew [FILE...]",
		Short: "Renew certificates that \"cert issue\" has written, when they are due",
		Long: `Renew certificates that "chancery cert issue" has written. FILE is a certificate,
its directory, or a directory of such; without it, all that this user has got are
meant. A certificate is due when the server says so (RFC 9773) or, when it does not
say, after two thirds of its lifetime; run this daily, or once with --daemon.

When the files are new, the command that "cert issue --exec" was given is run, or
that of --exec here, by the shell and with the directory in CHANCERY_CERT_DIR: have
it make the programs that use the files read them again. When it fails, it is run
again the next time, whether or not a renewal is due.

With --daemon it keeps on: each certificate is renewed at a moment of its window
that is chosen by chance, failures are tried again with growing pauses, and new
directories are found within a minute. SIGTERM stops it.`,
		Example: `  chancery cert renew
  chancery cert renew /etc/app/tls --exec 'systemctl reload app'
  chancery cert renew --daemon`,
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := f.checkDaemon(); err != nil {
				return err
			}
			if f.daemonize {
				return f.daemon(cmd.Context(), a, files)
			}
			return f.renew(cmd.Context(), a, files)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.force, "force", false, "renew now")
	flags.BoolVar(&f.daemonize, "daemon", false, "keep on, and renew each when it is time")
	flags.StringVar(&f.exec, "exec", "", "command to run when files are new (default: that given to \"cert issue\")")
	flags.DurationVar(&f.timeout, "timeout", certTimeout, "how long each may take")
	flags.BoolVar(&f.asJSON, "json", false, "print a JSON array")
	return cmd
}

// renew renews one after the other; a failure does not keep it from the others.
func (f *renewFlags) renew(ctx context.Context, a *app, given []string) error {
	files := given
	if expanded, err := a.foldersOf(given); err == nil {
		files = expanded
	}
	if len(files) == 0 {
		return withHint(errNothing, "name its directory, as in: chancery cert renew /etc/app/tls")
	}
	var failed []error
	results := make([]certResult, 0, len(files))
	for _, file := range files {
		result, err := f.renewOne(ctx, a, file)
		if err != nil {
			result = certResult{Dir: file, Error: err.Error()}
			failed = append(failed, err)
		}
		results = append(results, result)
		if !f.asJSON {
			a.printRenewal(result, err, len(files))
		}
	}
	if f.asJSON {
		if err := printJSON(a.Out, results); err != nil {
			return err
		}
	}
	if len(files) > 1 && len(failed) > 0 {
		return fmt.Errorf("%d of %d certificates could not be renewed", len(failed), len(files))
	}
	return errors.Join(failed...)
}

func (f *renewFlags) renewOne(ctx context.Context, a *app, file string) (certResult, error) {
	dir, err := acmeclient.FolderOf(file)
	if err != nil {
		return certResult{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	result, err := a.keeper().Renew(ctx, dir, f.force)
	if err != nil {
		return certResult{}, err
	}
	if result.Renewed || folder.IsUntold(dir) {
		if err := acmeclient.Tell(ctx, dir, f.exec); err != nil {
			return certResult{}, err
		}
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
