package cli

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chancery/client"
	"chancery/internal/acmeclient"
	"chancery/internal/admin"
	"chancery/internal/folder"
	"chancery/internal/keys"
	"chancery/internal/serial"
)

// revokeFlags are what "cert revoke" is told.
type revokeFlags struct {
	endpoint
	reason  string
	key     string
	timeout time.Duration
	asJSON  bool
	byToken bool // the certificate was got by a token

	token, provisioner string
}

// revoked is what "cert revoke" tells.
type revoked struct {
	Serial string `json:"serial"`
	Reason string `json:"reason"`
}

func newCertRevoke(a *app) *cobra.Command {
	f := &revokeFlags{}
	cmd := &cobra.Command{
		Use:   "revoke FILE|SERIAL",
		Short: "Revoke a certificate",
		Long: `Revoke a certificate. One in a file is revoked over ACME when "chancery cert
issue" wrote it, or with --server or --key: with the account that got it or else
with the certificate's key, if that lies beside it or is given. One that was got by a
token revokes itself with its key, or is revoked with --token: by one of the same
provisioner that stands for all its names, also a used one. Any other, and one named
by its serial number without a token, is revoked by the operator of the CA in --dir.

Reasons are, as in RFC 5280: ` + strings.Join(admin.Reasons(), ", ") + `.`,
		Example: `  chancery cert revoke /etc/app/tls/cert.pem --reason keyCompromise
  chancery cert revoke 017a6b… --token - --server https://ca.corp.example:9443 --root root.pem
  chancery cert revoke 017a6b… --dir /var/lib/chancery --reason superseded`,
		Args: args(1, "FILE or SERIAL"),
		RunE: func(cmd *cobra.Command, given []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
			defer cancel()
			done, err := f.run(ctx, a, cmd, given[0])
			if err != nil {
				return err
			}
			if f.asJSON {
				return printJSON(a.Out, done)
			}
			fmt.Fprintf(a.Out, "certificate %s is revoked (%s)\n", done.Serial, done.Reason)
			return nil
		},
	}
	f.addFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.reason, "reason", "unspecified", "why, by name or number in RFC 5280")
	flags.StringVar(&f.token, "token", "", "a token of the provisioner that the certificate was issued for; - reads it from standard input")
	flags.StringVar(&f.provisioner, "provisioner", "", "who vouches for the token, where it does not say so itself")
	flags.StringVar(&f.key, "key", "", "the certificate's private key (default: key.pem beside the certificate)")
	flags.DurationVar(&f.timeout, "timeout", certTimeout, "how long it may take")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

func (f *revokeFlags) run(ctx context.Context, a *app, cmd *cobra.Command, what string) (revoked, error) {
	reason, err := admin.ParseReason(f.reason)
	if err != nil {
		return revoked{}, &usageError{err: err}
	}
	if err := f.checkProof(cmd); err != nil {
		return revoked{}, err
	}
	_, err = os.Stat(what)
	switch isFile := err == nil; {
	case f.token != "":
		return f.revokeByToken(ctx, a, cmd, what, isFile)
	case isFile:
		return f.revokeFile(ctx, a, cmd, what, reason)
	}
	if err := checkSerial(what); err != nil {
		return revoked{}, err
	}
	return f.revokeAsOperator(ctx, a, what)
}

// checkProof refuses flags that contradict each other.
func (f *revokeFlags) checkProof(cmd *cobra.Command) error {
	switch {
	case f.token != "" && f.key != "":
		return usagef("--token and --key exclude each other")
	case f.token == "" && f.provisioner != "":
		return usagef("--provisioner goes with --token")
	}
	return checkToken(cmd.Flags(), f.token)
}

func checkSerial(what string) error {
	if _, err := serial.Parse(what); err != nil {
		return withHint(fmt.Errorf("there is no file %s, and it is no serial number", what),
			"a serial number has up to 40 hexadecimal digits; \"chancery certs list\" shows them")
	}
	return nil
}

// revokeByToken has the token door revoke a certificate for the bearer of a
// token.
func (f *revokeFlags) revokeByToken(ctx context.Context, a *app, cmd *cobra.Command, what string, isFile bool) (done revoked, err error) {
	wish := client.Revocation{Reason: f.reason, Provisioner: f.provisioner}
	if isFile {
		var dir string
		if dir, wish.Certificate, err = leafAt(what); err == nil {
			err = f.resolveFor(ctx, a, cmd, dir)
		}
	} else {
		wish.Serial = what
		if err = checkSerial(what); err == nil {
			err = f.resolve(ctx, a, cmd)
		}
	}
	if err == nil {
		wish.Token, err = a.givenToken(f.token)
	}
	if err != nil {
		return done, err
	}
	c, err := doorClient(f.doorURL(), f.root)
	if err != nil {
		return done, err
	}
	defer c.CloseIdleConnections()
	if err := c.Revoke(ctx, wish); err != nil {
		return done, acmeclient.Explain(err)
	}
	if isFile {
		what = viewX509(wish.Certificate).Serial
	}
	return revoked{what, f.reason}, nil
}

// leafAt is the certificate that a file or a folder holds, and the folder.
func leafAt(path string) (dir string, leaf *x509.Certificate, err error) {
	dir, err = acmeclient.FolderOf(path)
	if err != nil {
		return "", nil, err
	}
	if dir == path {
		path = filepath.Join(dir, folder.CertFile)
	}
	chain, err := acmeclient.ReadCertificates(path)
	if err != nil {
		return "", nil, err
	}
	return dir, chain[0], nil
}

func (f *revokeFlags) revokeAsOperator(ctx context.Context, a *app, number string) (done revoked, err error) {
	err = a.withClient(ctx, func(c *admin.Client) error {
		certificate, err := c.RevokeCertificate(ctx, number, f.reason)
		done = revoked{certificate.Serial, certificate.Reason}
		return err
	})
	return done, err
}

func (f *revokeFlags) revokeFile(ctx context.Context, a *app, cmd *cobra.Command, path string, reason int) (revoked, error) {
	dir, leaf, err := leafAt(path)
	if err != nil {
		return revoked{}, err
	}
	_, err = acmeclient.ReadRecord(dir)
	if errors.Is(err, fs.ErrNotExist) && f.server == "" && f.key == "" {
		return f.revokeAsOperator(ctx, a, viewX509(leaf).Serial)
	}
	key, err := f.readKey(dir)
	if err != nil {
		return revoked{}, err
	}
	if err := f.resolveFor(ctx, a, cmd, dir); err != nil {
		return revoked{}, err
	}
	if f.byToken {
		return f.revokeAtDoor(ctx, leaf, key)
	}
	client, err := acmeclient.New(acmeclient.Config{
		Server: f.server, RootFile: f.root, Accounts: f.accounts, UserAgent: a.keeper().UserAgent, Rand: rand.Reader,
	})
	if err != nil {
		return revoked{}, err
	}
	defer client.Close()
	if err := client.Revoke(ctx, leaf, key, reason); err != nil {
		return revoked{}, err
	}
	return revoked{viewX509(leaf).Serial, f.reason}, nil
}

// revokeAtDoor has a certificate that was got by a token revoke itself.
func (f *revokeFlags) revokeAtDoor(ctx context.Context, certificate *x509.Certificate, key crypto.Signer) (revoked, error) {
	c, err := doorClient(f.doorURL(), f.root)
	if err != nil {
		return revoked{}, err
	}
	defer c.CloseIdleConnections()
	if key == nil {
		return revoked{}, withHint(errors.New("the certificate's key is needed to revoke it"),
			"give it with --key FILE, or have the CA's operator revoke it by its serial number")
	}
	if err := c.Revoke(ctx, client.Revocation{Certificate: certificate, Key: key, Reason: f.reason}); err != nil {
		return revoked{}, acmeclient.Explain(err)
	}
	return revoked{viewX509(certificate).Serial, f.reason}, nil
}

// resolveFor takes what is not given from the record of the certificate's
// folder, if it has one.
func (f *revokeFlags) resolveFor(ctx context.Context, a *app, cmd *cobra.Command, dir string) error {
	record, err := acmeclient.ReadRecord(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return f.resolve(ctx, a, cmd)
	}
	if err != nil {
		return err
	}
	f.byToken = record.Door != ""
	if f.server == "" {
		f.server = record.Server
		if f.root == "" {
			f.root = record.Root
		}
	}
	if f.accounts == "" {
		f.accounts = record.Accounts
	}
	return f.resolve(ctx, a, cmd)
}

// readKey reads the certificate's key, if there is one.
func (f *revokeFlags) readKey(dir string) (crypto.Signer, error) {
	if f.key != "" {
		return keys.ReadFile(f.key)
	}
	key, err := keys.ReadFile(filepath.Join(dir, folder.KeyFile))
	if err != nil {
		return nil, nil //nolint:nilerr // the account may do
	}
	return key, nil
}
