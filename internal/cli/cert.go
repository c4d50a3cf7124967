package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os/user"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/acmeclient"
	"chancery/internal/admin"
	"chancery/internal/config"
	"chancery/internal/hierarchy"
)

func newCertCommand(a *app) *cobra.Command {
	return newGroup("cert", "Get, renew, revoke and inspect certificates",
		newCertIssue(a), newCertRenew(a), newCertRevoke(a), newCertInspect(a))
}

// certTimeout is how long getting one certificate may take, unless told.
const certTimeout = 5 * time.Minute

// endpoint is an ACME server and how it is trusted.
type endpoint struct {
	server, root, accounts string
	config                 *config.Config // of the CA in --dir; nil when --server names another
}

// addFlags adds the flags that say which server to ask.
func (e *endpoint) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&e.server, "server", "", "ACME directory URL, or https://HOST:PORT of a Chancery server (default: the CA in --dir)")
	flags.StringVar(&e.root, "root", "", "file with the root certificate that the server must chain to (default: that of --dir, else the system's)")
	flags.StringVar(&e.accounts, "account-dir", "", "directory where account keys are kept (default: in the user's configuration directory)")
}

// resolve fills in what was not given. The CA in --dir is asked when no server
// is named; it also gives the root when it was named itself.
func (e *endpoint) resolve(ctx context.Context, a *app, cmd *cobra.Command) (err error) {
	named := cmd.Flags().Changed("dir") || a.env("CHANCERY_DIR") != ""
	if e.server != "" {
		if e.server, err = acmeclient.DirectoryURL(e.server); err != nil {
			return &usageError{err: err}
		}
	}
	if e.server == "" || named {
		if err := e.useDir(ctx, a); err != nil {
			return err
		}
	}
	if e.accounts == "" {
		if e.accounts, err = a.accountDir(); err != nil {
			return err
		}
	}
	return absolute(&e.root, &e.accounts)
}

func (e *endpoint) useDir(ctx context.Context, a *app) (err error) {
	if e.config, err = a.config(); err != nil {
		return err
	}
	if err := checkAuthority(e.config); err != nil {
		return withHint(err, "name the server with --server URL, or the directory of a CA on this machine with --dir")
	}
	e.root = cmp.Or(e.root, filepath.Join(e.config.Dir, hierarchy.RootFile))
	if e.server != "" {
		return nil
	}
	if e.config.ExternalURL != "" {
		e.server, err = acmeclient.DirectoryURL(e.config.ExternalURL)
		return err
	}
	return a.withClient(ctx, func(c *admin.Client) error {
		status, err := c.Status(ctx)
		if err == nil && status.DirectoryURL == "" {
			err = withHint(errors.New("the URL of the server is not known, and it does not run"), "set external_url, or start it")
		}
		e.server = status.DirectoryURL
		return err
	})
}

// accountDir is where the user's account keys are kept.
func (a *app) accountDir() (string, error) { return a.ownDir("accounts", "--account-dir") }

// registry knows where this user's certificates are; none when there is no
// place for it.
func (a *app) registry() acmeclient.Registry {
	dir, err := a.ownDir("certificates", "")
	if err != nil {
		return ""
	}
	return acmeclient.Registry(dir)
}

// ownDir is a directory for this user's things of one kind.
func (a *app) ownDir(kind, flag string) (string, error) {
	base := a.env("XDG_CONFIG_HOME")
	if home := a.env("HOME"); base == "" && home != "" {
		base = filepath.Join(home, ".config")
	}
	if base == "" { // as in a service
		current, err := user.Current()
		if err != nil || current.HomeDir == "" {
			return "", withHint(errors.New("couldn't find a place for "+kind), "name one with %s", flag)
		}
		base = filepath.Join(current.HomeDir, ".config")
	}
	return filepath.Join(base, "chancery", kind), nil
}

// absolute makes paths that are given independent of the working directory.
func absolute(paths ...*string) (err error) {
	for _, path := range paths {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return fmt.Errorf("couldn't find out where %s is: %w", *path, err)
		}
	}
	return nil
}

func (a *app) keeper() *acmeclient.Keeper {
	return &acmeclient.Keeper{
		UserAgent: "chancery/" + versionText(), Report: (&progress{out: a.Err, terminal: isTerminal(a.Err)}).report,
		Now: time.Now, Rand: rand.Reader, Registry: a.registry(),
	}
}
