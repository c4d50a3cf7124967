package cli

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"chancery/client"
	"chancery/internal/acmeclient"
	"chancery/internal/hierarchy"
	"chancery/internal/truststore"
)

func newTrust(a *app) *cobra.Command {
	return newGroup("trust", "Have this machine trust a root, or no longer", newTrustInstall(a), newTrustUninstall(a))
}

// trustFlags are what "trust" is told.
type trustFlags struct {
	root, server, fingerprint string
	system, java, nss         bool
	asJSON                    bool
}

// trusted is what "trust" tells of one store.
type trusted struct {
	Store string `json:"store"`
	State string `json:"state"` // "installed", "already there", "removed", "was not there", "not here" or "failed"
	Error string `json:"error,omitempty"`
}

func newTrustInstall(a *app) *cobra.Command {
	f := &trustFlags{}
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Have the programs of this machine trust the root",
		Long: `Have the programs of this machine trust the root: of a file, of the CA in --dir,
or of a server, whose word is taken only for a root with the fingerprint that its
operator has told you. Without --system, --java and --nss it is put into each of
these stores that there is here. The system's and Java's need root; those of NSS
(Firefox, Chromium) are the user's own.`,
		Example: `  chancery trust install --root root.pem
  chancery trust install --server https://ca.corp.example:9443 --fingerprint 5f:2c:…`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			root, err := f.find(cmd.Context(), a)
			if err != nil {
				return err
			}
			if root.Certificate == nil {
				return usagef("--fingerprint alone says which root, but not where to get it: give --server or --root, too")
			}
			return f.each(a, func(store truststore.Store) (string, error) {
				changed, err := store.Install(cmd.Context(), root)
				return outcome(changed, "installed", "already there"), err
			})
		},
	}
	f.add(cmd)
	return cmd
}

func newTrustUninstall(a *app) *cobra.Command {
	f := &trustFlags{}
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take out again what \"trust install\" has put in",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			root, err := f.find(cmd.Context(), a)
			if err != nil {
				return err
			}
			return f.each(a, func(store truststore.Store) (string, error) {
				changed, err := store.Uninstall(cmd.Context(), root)
				return outcome(changed, "removed", "was not there"), err
			})
		},
	}
	f.add(cmd)
	return cmd
}

func outcome(changed bool, did, was string) string {
	if changed {
		return did
	}
	return was
}

func (f *trustFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.root, "root", "", "file with the root certificate (default: that of --dir)")
	flags.StringVar(&f.server, "server", "", "https://HOST:PORT of the CA that has the root with the --fingerprint")
	flags.StringVar(&f.fingerprint, "fingerprint", "", "SHA-256 of the root, in hexadecimal")
	flags.BoolVar(&f.system, "system", false, "only the system's store, and those that are named besides")
	flags.BoolVar(&f.java, "java", false, "only Java's, likewise")
	flags.BoolVar(&f.nss, "nss", false, "only NSS's, likewise")
	flags.BoolVar(&f.asJSON, "json", false, "print a JSON array")
}

// find gets the root that is meant, or at least its fingerprint.
func (f *trustFlags) find(ctx context.Context, a *app) (*truststore.Root, error) {
	fingerprint := strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(f.fingerprint))
	if _, err := hex.DecodeString(fingerprint); err != nil || fingerprint != "" && len(fingerprint) != 64 {
		return nil, usagef("%q is no SHA-256 fingerprint, which has 64 hexadecimal digits", f.fingerprint)
	}
	switch {
	case f.server != "" && f.root != "":
		return nil, usagef("--server and --root exclude each other")
	case f.server != "" && fingerprint == "":
		return nil, &usageError{err: errors.New("--server needs --fingerprint: nothing else says that the root is the right one"),
			hint: "ask the CA's operator, who sees it with \"chancery cert inspect root.pem\""}
	case f.server != "":
		root, err := client.RootByFingerprint(ctx, f.server, fingerprint)
		if errors.Is(err, client.ErrFingerprint) {
			return nil, withHint(err, "either the fingerprint is of another CA, or somebody is between you and the server: compare with its operator")
		}
		if err != nil {
			return nil, err
		}
		return truststore.NewRoot(root), nil
	case f.root == "" && fingerprint != "":
		return &truststore.Root{Fingerprint: fingerprint}, nil
	}
	return f.fromFile(a, fingerprint)
}

func (f *trustFlags) fromFile(a *app, fingerprint string) (*truststore.Root, error) {
	path := cmp.Or(f.root, filepath.Join(a.directory(), hierarchy.RootFile))
	chain, err := acmeclient.ReadCertificates(path)
	if errors.Is(err, fs.ErrNotExist) && f.root == "" {
		return nil, withHint(fmt.Errorf("there is no certificate authority in %s", a.directory()),
			"name the root with --root FILE, or get it with --server URL --fingerprint SHA256")
	}
	if err != nil {
		return nil, err
	}
	root := truststore.NewRoot(chain[0])
	switch {
	case len(chain) > 1:
		return nil, withHint(fmt.Errorf("%s holds %d certificates", path, len(chain)), "give a file with the root only")
	case !chain[0].IsCA:
		return nil, withHint(fmt.Errorf("%s holds the certificate of %s, which is no CA", path, chain[0].Subject),
			"a CA's root is needed; a Chancery server offers it at /root.pem")
	case fingerprint != "" && root.Fingerprint != fingerprint:
		return nil, fmt.Errorf("%s has another fingerprint: %s", path, root.Fingerprint)
	}
	return root, nil
}

// each does one thing to all stores that are meant, and tells what came of it.
func (f *trustFlags) each(a *app, do func(truststore.Store) (string, error)) error {
	host := truststore.Local(a.env("HOME"), a.env("JAVA_HOME"))
	all := !f.system && !f.java && !f.nss
	var told []trusted
	var failed []error
	for _, kind := range []struct {
		name  string
		named bool
		find  func() (truststore.Store, error)
	}{{"system", f.system, host.System}, {"java", f.java, host.Java}, {"nss", f.nss, host.NSS}} {
		if !all && !kind.named {
			continue
		}
		result := trusted{Store: kind.name}
		store, err := kind.find()
		if err == nil {
			result.State, err = do(store)
		}
		switch {
		case errors.Is(err, truststore.ErrAbsent) && !kind.named:
			result.State = "not here"
		case err != nil:
			result.State, result.Error = "failed", err.Error()
			failed = append(failed, err)
		}
		told = append(told, result)
	}
	if err := f.print(a, told); err != nil {
		return err
	}
	err := errors.Join(failed...)
	if errors.Is(err, fs.ErrPermission) {
		return withHint(err, "run it as root, or with --nss only")
	}
	return err
}

func (f *trustFlags) print(a *app, told []trusted) error {
	if f.asJSON {
		return printJSON(a.Out, told)
	}
	for _, one := range told {
		fmt.Fprintf(a.Out, "%s: %s\n", one.Store, one.State)
	}
	return nil
}
