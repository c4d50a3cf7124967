// Package cli is the command line: one file a command. It reads arguments,
// asks the packages below it, and prints for people or, with --json, for
// scripts. It decides nothing about certificates, and nothing imports it.
package cli

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"chancery/internal/admin"
	"chancery/internal/config"
	"chancery/internal/store/sqlite"
	"chancery/internal/store/transfer"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// Env is the process around the command line.
type Env struct {
	Args    []string // without the program's name
	Environ []string // as os.Environ has it
	In      io.Reader
	Out     io.Writer
	Err     io.Writer
}

// Main runs one command and returns the exit code: 0, 1 for failed, 2 for
// usage. It returns soon after ctx is done.
func Main(ctx context.Context, env Env) int {
	root := newRoot(&app{Env: env})
	root.SetArgs(env.Args)
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	ran, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(env.Err, "chancery: %v\n", err)
	usage, isUsage := errors.AsType[*usageError](err)
	if !isUsage && strings.HasPrefix(err.Error(), "unknown command") { // cobra's own, untyped
		usage, isUsage = &usageError{}, true
	}
	switch {
	case isUsage && usage.hint != "":
		fmt.Fprintf(env.Err, "hint: %s\n", usage.hint)
	case isUsage:
		fmt.Fprintf(env.Err, "hint: %q shows how to use it\n", ran.CommandPath()+" --help")
	default:
		if hint := hintOf(err); hint != "" {
			fmt.Fprintf(env.Err, "hint: %s\n", hint)
		}
	}
	if isUsage {
		return exitUsage
	}
	return exitFailed
}

// app is what all commands share: the process around them and the flags that
// every command has.
type app struct {
	Env
	dir  string // "" when not given
	file string // of the configuration; "" for that in dir
	set  []string

	remote remoteFlags
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "chancery",
		Short: "A private certificate authority for internal networks",
		Long: `Chancery is a private certificate authority that speaks ACME.

"chancery up" creates one, if there is none yet, and serves it.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          group,
		RunE:          needsCommand,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.dir, "dir", "", "directory of the certificate authority (default $CHANCERY_DIR, or \""+defaultDir+"\")")
	flags.StringArrayVar(&a.set, "set", nil, "override a setting of the configuration, as in validation.timeout=3s")
	_ = root.MarkPersistentFlagDirname("dir") // fails only for flags there are not
	root.SetFlagErrorFunc(localOnly)
	root.AddCommand(
		newUp(a), newInit(a), newServe(a), newConfig(a), newProfile(a), newIssuer(a), newRootGroup(a),
		newRestore(a), newMigrate(a), newVersion(a), newCertCommand(a), newToken(a), newCSR(a), newTrust(a), newBench(a),
	)
	root.AddCommand(a.reaching(
		newCerts(a), newServices(a), newIncident(a), newOrders(a), newAccounts(a), newEAB(a), newPolicy(a), newLimits(a), newCluster(a),
		newProvisioner(a), newAdmin(a), newReload(a), newBackup(a),
	)...)
	return root
}

// defaultDir is not "chancery", which is what "go build" calls the program.
const defaultDir = "chancery-ca"

// env is the value of an environment variable, or "".
func (a *app) env(name string) string {
	for _, variable := range a.Environ {
		if value, ok := strings.CutPrefix(variable, name+"="); ok {
			return value
		}
	}
	return ""
}

// config reads the configuration as the flags ask for it.
func (a *app) config() (*config.Config, error) {
	return config.Load(a.loadOptions())
}

func (a *app) loadOptions() config.LoadOptions {
	options := config.LoadOptions{Dir: a.dir, File: a.file, Set: a.set, Environ: a.Environ}
	if options.Dir == "" && options.File == "" {
		options.Dir = cmp.Or(a.env("CHANCERY_DIR"), defaultDir)
	}
	return options
}

// directory is where the CA is.
func (a *app) directory() string {
	options := a.loadOptions()
	if options.Dir == "" {
		return filepath.Dir(options.File)
	}
	return options.Dir
}

// addFileFlag gives a command --config.
func (a *app) addFileFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.file, "config", a.env("CHANCERY_CONFIG"), "configuration file (default DIR/chancery.yaml)")
}

// usageError is a mistake in how a command was called.
type usageError struct {
	err  error
	hint string // "" for the command's help
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...)}
}

// hintError adds a remedy to an error.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

// Hint is the remedy, for a person at a terminal.
func (e *hintError) Hint() string { return e.hint }

func withHint(err error, format string, args ...any) error {
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// hintOf finds the remedy that an error carries, or "".
func hintOf(err error) string {
	if answered, ok := errors.AsType[*admin.Error](err); ok {
		return answered.Hint
	}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
		return "name the file with the CA's root certificate by --root"
	}
	if errors.Is(err, sqlite.ErrLocked) {
		return "a server, or another command, is at work in this directory; stop it, or choose another --dir"
	}
	if errors.Is(err, transfer.ErrUnfinished) {
		return "call \"chancery migrate\" again as before to go on, or empty the store"
	}
	return ""
}

// args checks the number of positional arguments; what names them for people.
func args(count int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, given []string) error {
		switch {
		case len(given) < count:
			return usagef("%s is missing", what)
		case len(given) > count && count == 0:
			return usagef("unexpected argument %q", given[0])
		case len(given) > count:
			return usagef("unexpected argument %q after %s", given[count], what)
		default:
			return nil
		}
	}
}

var noArgs = args(0, "")

// group checks the arguments of a command that only holds others.
func group(cmd *cobra.Command, given []string) error {
	if len(given) == 0 {
		return nil
	}
	err := &usageError{err: fmt.Errorf("unknown command %q for %q", given[0], cmd.CommandPath())}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(given[0]); len(near) > 0 {
		err.hint = fmt.Sprintf("did you mean \"%s %s\"?", cmd.CommandPath(), near[0])
	}
	return err
}

func needsCommand(cmd *cobra.Command, _ []string) error {
	cmd.SetOut(cmd.ErrOrStderr())
	_ = cmd.Help()
	return usagef("a command is missing")
}

// newGroup is a command that only holds others.
func newGroup(use, short string, members ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: group, RunE: needsCommand}
	cmd.AddCommand(members...)
	return cmd
}
