package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"chancery/internal/config"
	"chancery/internal/hierarchy"
	"chancery/internal/keys"
)

// initFlags are the flags of "init".
type initFlags struct {
	names, permit                    []string
	listen                           string
	root, intermediate, key, csrOut  string
	rootPassphrase, intermediatePass string // files
	pathLength                       pathLengthFlag
}

func newInit(a *app) *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Create a certificate authority, or take one over, and don't serve it",
		Long: `Create a certificate authority in a directory: a root, whose key is sealed with
a passphrase, and an intermediate. Nothing of a CA is ever overwritten.

With --root, --intermediate and --key it takes over an existing CA. With
--csr-out it makes only the intermediate's key, and a request for a root
elsewhere to sign; --intermediate (and --root) later bring the answer.`,
		Example: `  chancery init --dir /var/lib/chancery --name ca.corp.example --set listen=:443
  chancery init --permit corp.example,10.0.0.0/8
  chancery init --path-length 1
  chancery init --root root.pem --intermediate sub.pem --key sub.key
  chancery init --csr-out sub.csr
  chancery init --intermediate sub.pem --root root.pem`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.set = append(a.set, nameSetting(f.names)...)
			a.set = append(a.set, listenSetting(f.listen)...)
			if err := f.check(); err != nil {
				return err
			}
			c, err := a.config()
			if err == nil {
				err = a.checkProfiles(c, time.Now())
			}
			if err != nil {
				return err
			}
			return a.init(cmd.Context(), c, f)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.names, "name", nil, "host name or address of this server, may be repeated; the first is in all URLs")
	flags.StringVar(&f.listen, "listen", "", "HOST:PORT of the HTTPS server")
	flags.StringSliceVar(&f.permit, "permit", nil, "domains and networks the new root may issue for, beside the server's own names (name constraints)")
	f.pathLength.add(cmd)
	flags.StringVar(&f.root, "root", "", "root certificate of an existing CA, PEM")
	flags.StringVar(&f.intermediate, "intermediate", "", "issuing certificate of an existing CA, and those above it, PEM")
	flags.StringVar(&f.key, "key", "", "private key of --intermediate, PEM; or its URI, as in pkcs11:token=ca;object=issuing")
	flags.StringVar(&f.csrOut, "csr-out", "", "write a signing request for a root elsewhere into this file")
	flags.StringVar(&f.rootPassphrase, "root-passphrase-file", "", "file with the passphrase that seals the new root's key")
	flags.StringVar(&f.intermediatePass, "key-passphrase-file", "", "file with the passphrase that opens --key")
	return cmd
}

// check refuses flags that don't go together.
func (f *initFlags) check() error {
	takesOver := f.root != "" || f.intermediate != "" || f.key != ""
	switch {
	case f.csrOut != "" && takesOver:
		return usagef("--csr-out makes a new key; it does not go with --root, --intermediate or --key")
	case f.csrOut != "" && len(f.permit) > 0, takesOver && len(f.permit) > 0:
		return usagef("--permit is for a new root; an existing root decides itself")
	case f.pathLength.isSet() && takesOver:
		return usagef("--path-length is for a new intermediate; an existing one has its own")
	case f.rootPassphrase != "" && (takesOver || f.csrOut != ""):
		return usagef("--root-passphrase-file is for a new root")
	case takesOver && f.intermediate == "":
		return usagef("--intermediate is missing")
	case f.key != "" && f.root == "":
		return usagef("--root is missing")
	case f.intermediatePass != "" && f.key == "":
		return usagef("--key-passphrase-file goes with --key")
	default:
		return nil
	}
}

func (a *app) init(ctx context.Context, c *config.Config, f initFlags) error {
	switch {
	case f.csrOut != "":
		return a.initRequest(c, f)
	case f.key != "":
		return a.initAdopt(ctx, c, f)
	case f.intermediate != "":
		return a.initAccept(c, f)
	}
	pathLength, err := f.pathLength.of(c, hierarchy.DefaultIssuer)
	if err != nil {
		return err
	}
	passphrase, err := a.createAuthority(c, f.permit, pathLength, passphraseSource{file: f.rootPassphrase, ask: true})
	if err != nil {
		return explainInit(err)
	}
	if err := a.showAuthority(c); err != nil {
		return err
	}
	a.tellPassphrase(passphrase)
	a.showNext(c)
	return nil
}

func (a *app) initRequest(c *config.Config, f initFlags) error {
	path := f.csrOut
	pathLength, err := f.pathLength.of(c, hierarchy.DefaultIssuer)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		switch agreed, err := a.confirm(path + " exists; replace it?"); {
		case err != nil:
			return err
		case !agreed:
			return fmt.Errorf("%s stays as it is, and nothing was created", path)
		}
	}
	var request []byte
	err = inLockedDir(c.Dir, func() (err error) {
		if err = checkFree(c.Dir); err != nil {
			return err
		}
		writeConfig, err := a.planConfig(c, true)
		if err != nil {
			return err
		}
		if request, err = hierarchy.CreateRequest(hierarchy.Options{Dir: c.Dir, PathLength: pathLength}); err != nil {
			return err
		}
		return writeConfig()
	})
	if err != nil {
		return explainInit(err)
	}
	if err := os.WriteFile(path, request, 0o644); err != nil { //nolint:gosec // a request is public
		return withHint(fmt.Errorf("couldn't write the request: %w", err), "it is also in %s", filepath.Join(c.Dir, hierarchy.RequestFile))
	}
	fmt.Fprintf(a.Out, "The request is in %s. Have it signed by the root, then run:\n  chancery init --dir %s --intermediate FILE --root FILE\n", path, c.Dir)
	return nil
}

func (a *app) initAdopt(ctx context.Context, c *config.Config, f initFlags) error {
	options := hierarchy.AdoptOptions{Dir: c.Dir, RootFile: f.root, IntermediateFile: f.intermediate, KeyFile: f.key, Check: fitsProfiles(c, hierarchy.DefaultIssuer)}
	return a.initFrom(c, func() (err error) {
		if keys.IsURI(f.key) {
			if options.Signer, err = openHelperKey(ctx, c, hierarchy.DefaultIssuer, f.key); err != nil {
				return err
			}
			defer closeKey(options.Signer)
			_, err = hierarchy.Adopt(options)
			return err
		}
		if f.intermediatePass != "" {
			passphrase, err := readPassphrase(f.intermediatePass)
			if err != nil {
				return err
			}
			options.KeyPassphrase = passphrase
		}
		_, err = hierarchy.Adopt(options)
		if errors.Is(err, keys.ErrSealed) && options.KeyPassphrase == nil && isTerminal(a.In) {
			if options.KeyPassphrase, err = a.askKeyPassphrase(f.key); err == nil {
				_, err = hierarchy.Adopt(options)
			}
		}
		if errors.Is(err, keys.ErrSealed) {
			return withHint(err, "give its passphrase with --key-passphrase-file")
		}
		return err
	})
}

func (a *app) askKeyPassphrase(path string) ([]byte, error) {
	fmt.Fprintf(a.Err, "Passphrase of %s: ", path)
	passphrase, err := term.ReadPassword(int(a.In.(*os.File).Fd()))
	fmt.Fprintln(a.Err)
	return passphrase, err
}

func (a *app) initAccept(c *config.Config, f initFlags) error {
	return a.initFrom(c, func() error {
		_, err := hierarchy.AcceptIntermediate(hierarchy.AcceptOptions{
			Dir: c.Dir, IntermediateFile: f.intermediate, RootFile: f.root, Check: fitsProfiles(c, hierarchy.DefaultIssuer),
		})
		return err
	})
}

// initFrom completes a directory with what exists elsewhere.
func (a *app) initFrom(c *config.Config, run func() error) error {
	err := inLockedDir(c.Dir, func() error {
		writeConfig, err := a.planConfig(c, true)
		if err != nil {
			return err
		}
		if err := run(); err != nil {
			return err
		}
		return writeConfig()
	})
	if err != nil {
		return explainInit(err)
	}
	if err := a.showAuthority(c); err != nil {
		return err
	}
	a.showNext(c)
	return nil
}

// explainInit adds a remedy where there is a CA already.
func explainInit(err error) error {
	if errors.Is(err, hierarchy.ErrExists) {
		return withHint(err, "\"chancery serve\" serves the one there is; to make another, choose another --dir")
	}
	return err
}

func (a *app) showAuthority(c *config.Config) error {
	h, err := hierarchy.Load(c.Dir)
	if err != nil {
		return err
	}
	return printFields(a.Out,
		"Root", h.Root.Subject.CommonName,
		"Root certificate", filepath.Join(c.Dir, hierarchy.RootFile),
		"SHA-256", hierarchy.Fingerprint(h.Root),
		"Valid until", when(h.Root.NotAfter),
		"Permitted", strings.Join(permitted(h), " "),
		"Intermediate", h.Issuer().Subject.CommonName,
		"Valid until", when(h.Issuer().NotAfter),
	)
}

// permitted lists the name constraints of a root.
func permitted(h *hierarchy.Hierarchy) []string {
	list := append([]string{}, h.Root.PermittedDNSDomains...)
	for _, network := range h.Root.PermittedIPRanges {
		list = append(list, network.String())
	}
	return list
}

func (a *app) showNext(c *config.Config) {
	fmt.Fprintf(a.Out, "\nServe it:\n  chancery serve --dir %s\n", shellWord(c.Dir))
}
