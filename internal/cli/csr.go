package cli

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"chancery/internal/acmeclient"
	"chancery/internal/keys"
)

// csrFlags are what "csr" is told.
type csrFlags struct {
	key, keyType, out, subject string
	asJSON                     bool
}

func newCSR(a *app) *cobra.Command {
	f := &csrFlags{}
	cmd := &cobra.Command{
		Use:   "csr NAME|IP|uri:…|email:…...",
		Short: "Make a key and a certificate signing request",
		Long: `Make a private key and a certificate signing request for it (PKCS#10), which any
CA takes. With --key FILE that key is used if there is such a file, else it is
made there.`,
		Example: `  chancery csr app.corp.example --key app.key --out app.csr`,
		Args: func(_ *cobra.Command, names []string) error {
			if len(names) == 0 {
				return usagef("NAME is missing")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, names []string) error { return f.run(cmd, a, names) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.key, "key", "key.pem", "file of the private key")
	flags.StringVar(&f.keyType, "key-type", "P-256", "type of a new key: P-256, P-384, P-521, Ed25519, or RSA-2048 and larger")
	flags.StringVar(&f.out, "out", "", "file to write the request to (default: print it)")
	flags.StringVar(&f.subject, "common-name", "", "a common name, for those who still want one")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

func (f *csrFlags) run(cmd *cobra.Command, a *app, texts []string) error {
	names, err := acmeclient.ParseNames(texts)
	if err != nil {
		return &usageError{err: err}
	}
	key, made, err := f.findKey(cmd)
	if err != nil {
		return err
	}
	der, err := acmeclient.NewCSR(rand.Reader, key, f.subject, names)
	if err != nil {
		return err
	}
	text := encodeBlock("CERTIFICATE REQUEST", der)
	if f.out != "" {
		if err := keys.WriteNew(f.out, []byte(text), 0o644); errors.Is(err, fs.ErrExist) {
			return withHint(err, "remove it first, or choose another file with --out")
		} else if err != nil {
			return err
		}
	}
	if f.asJSON {
		request, err := x509.ParseCertificateRequest(der)
		if err != nil {
			return fmt.Errorf("couldn't read the request again: %w", err)
		}
		return printJSON(a.Out, viewRequest(request))
	}
	if made {
		fmt.Fprintf(a.Err, "%s: a new private key\n", f.key)
	}
	if f.out == "" {
		fmt.Fprint(a.Out, text)
	}
	return nil
}

// findKey reads the key, or makes it.
func (f *csrFlags) findKey(cmd *cobra.Command) (key crypto.Signer, made bool, err error) {
	key, err = keys.ReadFile(f.key)
	switch {
	case err == nil && cmd.Flags().Changed("key-type") && keys.TypeOf(key.Public()) != f.keyType:
		return nil, false, usagef("%s is a key of type %s; --key-type is for a new one", f.key, keys.TypeOf(key.Public()))
	case err == nil:
		return key, false, keys.Check(key.Public())
	case !errors.Is(err, fs.ErrNotExist):
		return nil, false, err
	}
	if key, err = keys.Generate(rand.Reader, f.keyType); err != nil {
		return nil, false, &usageError{err: err}
	}
	err = keys.WriteFile(f.key, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, withHint(err, "make the directory %s first", filepath.Dir(f.key))
	}
	return key, true, err
}
