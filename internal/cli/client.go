package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chancery/internal/admin"
	"chancery/internal/config"
	"chancery/internal/hierarchy"
	"chancery/internal/observe"
	"chancery/internal/server"
)

// remoteFlags say which server elsewhere a command is for, and who calls.
type remoteFlags struct {
	server, root, tokenFile, cert, key string
}

// reaching gives commands, and all below them, the flags with which they work
// on a server elsewhere.
func (a *app) reaching(commands ...*cobra.Command) []*cobra.Command {
	for _, cmd := range commands {
		flags := cmd.PersistentFlags()
		flags.StringVar(&a.remote.server, "server", "", "https://HOST:PORT of a server elsewhere (default: the CA in --dir)")
		flags.StringVar(&a.remote.root, "root", "", "with --server: file with the root certificate that it must chain to (default: the system's)")
		flags.StringVar(&a.remote.tokenFile, "token-file", "", "with --server: file with a token of \"chancery admin token create\" (default: $CHANCERY_ADMIN_TOKEN)")
		flags.StringVar(&a.remote.cert, "cert", "", "with --server: client certificate, PEM, instead of a token")
		flags.StringVar(&a.remote.key, "key", "", "with --server: the client certificate's key")
	}
	return commands
}

// localOnly tells those who give --server to a command that has no such flag.
func localOnly(cmd *cobra.Command, err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && unknown.GetSpecifiedName() == "server" {
		return usagef("\"%s\" works on a directory of this machine, not on a server elsewhere; leave out --server", cmd.CommandPath())
	}
	return &usageError{err: err}
}

// withClient runs use with a client of the server elsewhere, of the one running
// here or, when none runs, of the store. A server is reached even if the
// configuration is broken by now; what --set says must be right in any case.
func (a *app) withClient(ctx context.Context, use func(*admin.Client) error) (err error) {
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	return use(client)
}

func (a *app) connect(ctx context.Context) (*admin.Client, error) {
	if a.remote != (remoteFlags{}) {
		return a.connectRemote()
	}
	if len(a.set) > 0 {
		if _, err := a.config(); err != nil {
			return nil, err
		}
	}
	audit, err := observe.NewLogger(a.Err, "text", slog.LevelInfo)
	if err != nil {
		return nil, err
	}
	return server.Connect(ctx, a.directory(), a.offlineConfig, audit)
}

func (a *app) connectRemote() (*admin.Client, error) {
	f := a.remote
	where, err := url.Parse(f.server)
	switch {
	case f.server == "":
		return nil, usagef("--root, --token-file, --cert and --key are for a server elsewhere; name it with --server https://HOST:PORT")
	case err != nil || where.Scheme != "https" || where.Host == "" || strings.Trim(where.Path, "/") != "" || where.RawQuery != "" || where.User != nil:
		return nil, usagef("%q is no server; write it like --server https://ca.corp.example:9443", f.server)
	case len(a.set) > 0 || a.dir != "":
		return nil, usagef("--dir and --set are for a CA on this machine; leave them out, or --server")
	}
	to := admin.Server{URL: "https://" + where.Host}
	if f.root != "" {
		if to.Roots, err = readRoots(f.root); err != nil {
			return nil, err
		}
	}
	if to.Token, to.Certificate, err = a.credentials(); err != nil {
		return nil, err
	}
	return admin.Reach(to), nil
}

// credentials are the token or the certificate that says who calls.
func (a *app) credentials() (token string, certificate *tls.Certificate, err error) {
	f := a.remote
	if (f.cert == "") != (f.key == "") {
		return "", nil, usagef("a client certificate needs both --cert and --key")
	}
	if f.cert != "" {
		if f.tokenFile != "" {
			return "", nil, usagef("give --token-file or --cert, not both")
		}
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return "", nil, fmt.Errorf("couldn't use the client certificate: %w", err)
		}
		return "", &pair, nil
	}
	if f.tokenFile != "" {
		content, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return "", nil, err
		}
		if token = strings.TrimSpace(string(content)); strings.ContainsAny(token, " \r\n") || token == "" {
			return "", nil, withHint(fmt.Errorf("%s is no file with a token in it", f.tokenFile), "\"chancery admin token create > FILE\" makes one")
		}
		return token, nil, nil
	}
	if token = strings.TrimSpace(a.env("CHANCERY_ADMIN_TOKEN")); token == "" {
		return "", nil, usagef("the server has to know who calls; give --token-file, $CHANCERY_ADMIN_TOKEN, or --cert and --key")
	}
	return token, nil, nil
}

func readRoots(path string) (*x509.CertPool, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("%s has no certificate in it", path)
	}
	return roots, nil
}

// offlineConfig is the configuration of a CA that exists.
func (a *app) offlineConfig() (*config.Config, error) {
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	return c, checkAuthority(c)
}

// checkAuthority reports whether there is a certificate authority in the
// directory of c, so that commands don't make files in a wrong one.
func checkAuthority(c *config.Config) error {
	_, err := os.Stat(filepath.Join(c.Dir, hierarchy.IntermediateFile))
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err = hierarchy.Load(c.Dir); errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("there is no certificate authority in %s", c.Dir),
			"name its directory with --dir, or create one with \"chancery init --dir %s\"", c.Dir)
	}
	return err
}

func (a *app) logFormat(c *config.Config) string {
	switch {
	case c.Log.Format != "auto":
		return c.Log.Format
	case isTerminal(a.Err):
		return "text"
	default:
		return "json"
	}
}
