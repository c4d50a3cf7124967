package cli

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"chancery/internal/admin"
	"chancery/internal/config"
	"chancery/internal/duration"
	"chancery/internal/hierarchy"
	"chancery/internal/keyhelper"
	"chancery/internal/keys"
)

func newIssuer(a *app) *cobra.Command {
	return newGroup("issuer", "List and rotate what signs certificates",
		newIssuerList(a), newIssuerRotate(a), newIssuerRequest(a), newIssuerAccept(a))
}

// issuerFlags are the flags of a new generation.
type issuerFlags struct {
	keyType, key, rootKey, passphrase, lifetime string
	pathLength                                  pathLengthFlag
	csrOut                                      string
	asJSON                                      bool
}

func (f *issuerFlags) addKeyFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.keyType, "key-type", "", "type of the new key: P-256, P-384, P-521, Ed25519 or RSA-3072 and the like (default as before)")
	cmd.Flags().StringVar(&f.key, "key", "", "URI of the new key, when a helper program holds it, as in pkcs11:token=ca;object=second")
	f.pathLength.add(cmd)
}

func newIssuerRotate(a *app) *cobra.Command {
	var f issuerFlags
	cmd := &cobra.Command{
		Use:   "rotate [NAME]",
		Short: "Make a new issuing certificate with a new key, and sign with that from now on",
		Long: `Make a new issuing certificate with a new key, signed by the root whose key is in
the directory, and have the running server sign with it from now on. What was
signed before stays good; the key and the certificates that signed it are kept.

When the root's key is elsewhere, use "chancery issuer request" and "accept".`,
		Example: `  chancery issuer rotate
  chancery issuer rotate mesh --path-length 1 --key-type P-384
  chancery issuer rotate --root-key /mnt/usb/root.key --root-passphrase-file /mnt/usb/passphrase`,
		Args: atMostOne("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.rotateIssuer(cmd.Context(), nameOf(given), f)
		},
	}
	f.addKeyFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.rootKey, "root-key", "", "file of the root's key (default root.key in the directory)")
	flags.StringVar(&f.passphrase, "root-passphrase-file", "", "file with the passphrase of the root's key")
	flags.StringVar(&f.lifetime, "lifetime", "", "how long the certificate is good, as in 5y; at most as long as the root (default 10y)")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

func newIssuerRequest(a *app) *cobra.Command {
	var f issuerFlags
	cmd := &cobra.Command{
		Use:   "request [NAME] --csr-out FILE",
		Short: "Make a new key and a signing request for a root elsewhere",
		Args:  atMostOne("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			if f.csrOut == "" {
				return usagef("--csr-out is missing")
			}
			return a.requestIssuer(cmd.Context(), nameOf(given), f)
		},
	}
	f.addKeyFlags(cmd)
	cmd.Flags().StringVar(&f.csrOut, "csr-out", "", "write the request into this file")
	return cmd
}

func newIssuerAccept(a *app) *cobra.Command {
	var certificate, root string
	var f issuerFlags
	cmd := &cobra.Command{
		Use:   "accept [NAME] --certificate FILE",
		Short: "Take the answer to a signing request, and sign with that from now on",
		Args:  atMostOne("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			if certificate == "" {
				return usagef("--certificate is missing")
			}
			return a.acceptIssuer(cmd.Context(), nameOf(given), certificate, root, f)
		},
	}
	cmd.Flags().StringVar(&certificate, "certificate", "", "the issuing certificate, and those between it and the root, PEM")
	cmd.Flags().StringVar(&root, "root", "", "its root, when that is not the CA's, PEM")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

// atMostOne accepts no argument or one.
func atMostOne(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, given []string) error {
		if len(given) > 1 {
			return usagef("unexpected argument %q after %s", given[1], what)
		}
		return nil
	}
}

// nameOf is the issuer that a command is about.
func nameOf(given []string) string {
	if len(given) == 0 {
		return hierarchy.DefaultIssuer
	}
	return given[0]
}

func (a *app) rotateIssuer(ctx context.Context, name string, f issuerFlags) error {
	var options hierarchy.RotateOptions
	if f.lifetime != "" {
		lifetime, err := duration.Parse(f.lifetime)
		if err != nil {
			return usagef("--lifetime: %w", err)
		}
		options.Lifetime = lifetime.Std()
	}
	return a.newGeneration(ctx, name, f, func(c *config.Config) (_ *hierarchy.Generation, err error) {
		options.Files, options.RootListURL = c.IssuerFiles(name), rootListURL(c)
		if options.PathLength, err = f.pathLength.of(c, name); err != nil {
			return nil, err
		}
		if options.Key, err = f.newKey(ctx, c, name); err != nil {
			return nil, err
		}
		defer closeKey(options.Key.Signer)
		if f.rootKey != "" {
			if options.RootKey, err = filepath.Abs(f.rootKey); err != nil {
				return nil, err
			}
		}
		if options.Passphrase, err = a.rootPassphrase(c, f.passphrase); err != nil {
			return nil, err
		}
		return hierarchy.Rotate(options)
	})
}

// newKey is the key of a new generation.
func (f *issuerFlags) newKey(ctx context.Context, c *config.Config, name string) (hierarchy.NewKey, error) {
	if f.key == "" {
		return hierarchy.NewKey{Type: f.keyType}, nil
	}
	if f.keyType != "" {
		return hierarchy.NewKey{}, usagef("--key is a key that exists; it does not go with --key-type")
	}
	signer, err := openHelperKey(ctx, c, name, f.key)
	return hierarchy.NewKey{URI: f.key, Signer: signer}, err
}

// openHelperKey opens a key that a helper holds.
func openHelperKey(ctx context.Context, c *config.Config, name, uri string) (crypto.Signer, error) {
	options, err := keyhelper.FromURI(uri, c.Issuers[name].Helper, c.Dir)
	if err != nil {
		return nil, err
	}
	key, err := keyhelper.Open(ctx, options)
	if err != nil {
		return nil, err
	}
	return key, nil
}

// closeKey ends the helper of a key, if it has one.
func closeKey(signer crypto.Signer) {
	if key, ok := signer.(*keyhelper.Key); ok {
		_ = key.Close() // nothing that could fail matters any more
	}
}

// rootPassphrase finds the passphrase of the root's key: in a file, in the one
// that init has generated, or with the person at the terminal.
func (a *app) rootPassphrase(c *config.Config, file string) ([]byte, error) {
	if file != "" {
		return readPassphrase(file)
	}
	passphrase, err := readPassphrase(filepath.Join(c.Dir, passphraseFile))
	if !errors.Is(err, fs.ErrNotExist) {
		return passphrase, err
	}
	if !isTerminal(a.In) {
		return nil, withHint(errors.New("the passphrase of the root's key is missing"), "give it with --root-passphrase-file")
	}
	fmt.Fprint(a.Err, "Passphrase of the root's key: ")
	passphrase, err = term.ReadPassword(int(a.In.(*os.File).Fd()))
	fmt.Fprintln(a.Err)
	return passphrase, err
}

func (a *app) requestIssuer(ctx context.Context, name string, f issuerFlags) error {
	c, err := a.issuerConfig(name)
	if err != nil {
		return err
	}
	pathLength, err := f.pathLength.of(c, name)
	if err != nil {
		return err
	}
	var request []byte
	err = inIssuers(c.Dir, func() error {
		key, err := f.newKey(ctx, c, name)
		if err != nil {
			return err
		}
		defer closeKey(key.Signer)
		request, err = hierarchy.RequestIssuer(hierarchy.RotateOptions{Files: c.IssuerFiles(name), Key: key, PathLength: pathLength})
		return err
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(f.csrOut, request, 0o644); err != nil { //nolint:gosec // a request is public
		return withHint(fmt.Errorf("couldn't write the request: %w", err), "the same command writes it again")
	}
	fmt.Fprintf(a.Out, "The request is in %s. Have it signed by the root, then run:\n  chancery issuer accept %s --certificate FILE --dir %s\n", f.csrOut, name, shellWord(c.Dir))
	return nil
}

func (a *app) acceptIssuer(ctx context.Context, name, certificate, root string, f issuerFlags) error {
	return a.newGeneration(ctx, name, f, func(c *config.Config) (*hierarchy.Generation, error) {
		var opened crypto.Signer
		defer func() { closeKey(opened) }()
		return hierarchy.AcceptIssuer(hierarchy.AcceptIssuerOptions{
			Files: c.IssuerFiles(name), CertificateFile: certificate, RootFile: root, Check: fitsProfiles(c, name), Now: time.Now,
			Open: func(uri string) (_ crypto.Signer, err error) {
				opened, err = openHelperKey(ctx, c, name, uri)
				return opened, err
			},
		})
	})
}

// issuerConfig is the configuration, in which there is an issuer of that name.
func (a *app) issuerConfig(name string) (*config.Config, error) {
	c, err := a.offlineConfig()
	if err != nil {
		return nil, err
	}
	for _, known := range c.IssuerNames() {
		if known == name {
			return c, nil
		}
	}
	return nil, withHint(fmt.Errorf("there is no issuer %q", name), "write it into %s, as in: issuers: {%s: {}}", config.FileName, name)
}

// inIssuers runs make while no other command changes the issuers of a CA,
// which a server may be running.
func inIssuers(dir string, run func() error) error {
	return inLockedDir(filepath.Join(dir, "issuers"), run)
}

// newGeneration makes a generation of an issuer and has the server use it.
func (a *app) newGeneration(ctx context.Context, name string, f issuerFlags, run func(*config.Config) (*hierarchy.Generation, error)) error {
	c, err := a.issuerConfig(name)
	if err != nil {
		return err
	}
	var made *hierarchy.Generation
	if err := inIssuers(c.Dir, func() (err error) { made, err = run(c); return err }); err != nil {
		if errors.Is(err, keys.ErrPassphrase) {
			return withHint(err, "give the passphrase of the root's key with --root-passphrase-file")
		}
		return err
	}
	if err := a.reloadIfServing(ctx); err != nil {
		return withHint(fmt.Errorf("the new certificate is there, but the running server does not use it yet: %w", err), "put that right, then run: chancery reload")
	}
	if f.asJSON {
		return printJSON(a.Out, viewGeneration(name, made, true))
	}
	return printFields(a.Out,
		"Issuer", name,
		"Generation", fmt.Sprint(made.Number),
		"Certificate", made.Issuer().Subject.CommonName,
		"Key", made.Key,
		"Valid until", when(made.Issuer().NotAfter),
	)
}

// reloadIfServing has a running server load its issuers again.
func (a *app) reloadIfServing(ctx context.Context) error {
	return a.withClient(ctx, func(c *admin.Client) error {
		status, err := c.Status(ctx)
		if err != nil || !status.Serving {
			return err
		}
		_, err = c.Reload(ctx)
		return err
	})
}
