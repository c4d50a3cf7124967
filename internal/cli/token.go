package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chancery/client"
	"chancery/internal/acmeclient"
)

// tokenFlags are what "token" is told.
type tokenFlags struct {
	endpoint
	login       login
	key, cert   string
	provisioner string
	names       []string
	subject     string
	profile     string
	lifetime    time.Duration
	oidc        bool
	timeout     time.Duration
}

func newToken(a *app) *cobra.Command {
	f := &tokenFlags{}
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make a token that gets one certificate, or log in for one",
		Long: `Make a token that gets one certificate, and print it and nothing else. It is signed
with the key of a provisioner of type jwk ("chancery provisioner create" makes
both) or, for a provisioner of type x5c, with the key of the certificate given with
--cert. It names the server and what the certificate is for, and ends after
--lifetime: hand it to the machine that needs the certificate, which uses it with
"chancery cert issue --token". Signing needs no connection to the server.

With --oidc it is the ID token of a login at a provisioner of type oidc: in the
browser or, with --device, by a code that is typed in on another device.`,
		Example: `  chancery token --key deploy.jwk --provisioner deploy --server https://ca.corp.example:9443 --root root.pem --san web.corp.example
  chancery token --cert old.pem --key old.key --provisioner old --server https://ca.corp.example:9443 --san uri:spiffe://corp.example/web
  chancery token --oidc --server https://ca.corp.example:9443 --root root.pem`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
			defer cancel()
			token, err := f.run(ctx, a, cmd)
			if err == nil {
				fmt.Fprintln(a.Out, token)
			}
			return err
		},
	}
	f.add(cmd)
	return cmd
}

func (f *tokenFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.key, "key", "", "file of the key that signs: a JWK or PEM")
	flags.StringVar(&f.cert, "cert", "", "file of the key's certificate, for provisioners of type x5c")
	flags.StringVar(&f.provisioner, "provisioner", "", "name of the provisioner")
	flags.StringVar(&f.server, "server", "", "https://HOST:PORT of the server that takes the token (default: the CA in --dir)")
	flags.StringVar(&f.root, "root", "", "file with the server's root; its fingerprint is put into the token")
	flags.StringArrayVar(&f.names, "san", nil, "what the certificate is for: NAME, IP, uri:… or email:…; can be repeated")
	flags.StringVar(&f.subject, "subject", "", "who asks, for records (default: the first --san)")
	flags.StringVar(&f.profile, "profile", "", "what kind of certificate (default: the provisioner's)")
	flags.DurationVar(&f.lifetime, "lifetime", 5*time.Minute, "how long the token can be used")
	flags.BoolVar(&f.oidc, "oidc", false, "log in at the provider of a provisioner of type oidc")
	flags.DurationVar(&f.timeout, "timeout", certTimeout, "how long a login may take")
	f.login.add(cmd)
}

func (f *tokenFlags) run(ctx context.Context, a *app, cmd *cobra.Command) (string, error) {
	if err := f.check(cmd); err != nil {
		return "", err
	}
	if err := f.resolve(ctx, a, cmd); err != nil {
		return "", err
	}
	if f.oidc {
		return f.login.token(ctx, a, f.doorURL(), f.root, f.provisioner)
	}
	return f.sign()
}

// check refuses flags that contradict each other or are too few.
func (f *tokenFlags) check(cmd *cobra.Command) error {
	if f.oidc {
		for _, name := range []string{"key", "cert", "san", "subject", "profile", "lifetime"} {
			if cmd.Flags().Changed(name) {
				return usagef("--%s is for tokens that are signed here; the provider decides about those of --oidc", name)
			}
		}
		return nil
	}
	switch {
	case f.login.device:
		return usagef("--device goes with --oidc")
	case f.key == "":
		return &usageError{err: errors.New("--key is missing"), hint: "\"chancery provisioner create NAME --type jwk --out KEY.jwk\" makes one"}
	case f.provisioner == "":
		return &usageError{err: errors.New("--provisioner is missing"), hint: "\"chancery provisioner list\" shows those there are"}
	case len(f.names) == 0:
		return usagef("--san is missing: say what the certificate is for")
	case f.lifetime <= 0:
		return usagef("--lifetime is %v; a token must live for some time", f.lifetime)
	}
	return nil
}

// sign makes a token with a key.
func (f *tokenFlags) sign() (string, error) {
	names, err := acmeclient.ParseNames(f.names)
	if err != nil {
		return "", &usageError{err: err}
	}
	order := client.Token{
		Provisioner: f.provisioner, Server: f.doorURL(), Names: acmeclient.FormatNames(names),
		Subject: f.subject, Profile: f.profile, Lifetime: f.lifetime,
	}
	if order.Key, err = client.ReadKey(f.key); err != nil {
		return "", withHint(err, "it must be the private key whose public half the provisioner has")
	}
	if f.cert != "" {
		if order.Chain, err = acmeclient.ReadCertificates(f.cert); err != nil {
			return "", err
		}
	}
	if f.root != "" {
		roots, err := acmeclient.ReadCertificates(f.root)
		if err != nil {
			return "", err
		}
		order.Root = roots[0]
	}
	return order.Sign()
}

// doorURL is the server's URL without the path of its ACME directory.
func (e *endpoint) doorURL() string {
	base, _, _ := strings.Cut(e.server, "/acme/")
	return strings.TrimSuffix(base, "/")
}

// doorClient talks to the token door of a server.
func doorClient(server, root string) (*client.Client, error) {
	c := &client.Client{Server: server, UserAgent: "chancery/" + versionText()}
	if root == "" {
		return c, nil
	}
	chain, err := acmeclient.ReadCertificates(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, withHint(err, "a Chancery server offers its root at /root.pem; compare its fingerprint with the operator's")
	}
	if err != nil {
		return nil, err
	}
	c.Roots = client.Pool(chain...)
	return c, nil
}

// systemAnd are the system's roots and those of a file.
func systemAnd(root string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if root == "" {
		return pool, nil
	}
	chain, err := acmeclient.ReadCertificates(root)
	for _, certificate := range chain {
		pool.AddCert(certificate)
	}
	return pool, err
}
