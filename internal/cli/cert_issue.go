package cli

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/mholt/acmez/v3/acme"
	"github.com/spf13/cobra"

	"chancery/internal/acmeclient"
)

// issueFlags are what "cert issue" is told.
type issueFlags struct {
	endpoint
	proof       proof
	record      acmeclient.Record
	eab         acme.EAB
	acceptTerms bool
	out         string
	timeout     time.Duration
	asJSON      bool
}

func newCertIssue(a *app) *cobra.Command {
	f := &issueFlags{}
	cmd := &cobra.Command{
		Use:   "issue [NAME|IP...]",
		Short: "Get a certificate over ACME, from this CA or any other server, or by a token",
		Long: `Get a certificate over ACME (RFC 8555) and write it to a directory: key.pem (or
the file given with --key), cert.pem, chain.pem, fullchain.pem, and
renewal.json, from which "chancery cert renew" knows how to renew it.

The server must see that the names are yours. Without further flags it is
answered by HTTP on port 80, or on the CA's validation.http_port when the CA is
in --dir. A wildcard needs --dns-exec: the command is run by the shell with
three more arguments, "present" or "cleanup", the name of a TXT record
(_acme-challenge.app.corp.example) and its value. It is to return when the
record can be seen.

With --token, --oidc, --k8s, --x5c, --aws, --gcp or --azure nothing is validated: a
token proves who asks and what the certificate is for, so no NAME is given (but with
--x5c, to choose some of that certificate's names). Such a certificate is renewed by
showing it, as long as it is valid.`,
		Example: `  chancery cert issue app.corp.example --out /etc/app/tls
  chancery cert issue app.corp.example 10.0.0.7 --server https://ca.corp.example:9443 --root root.pem
  chancery cert issue '*.corp.example' --dns-exec /usr/local/bin/set-txt
  chancery cert issue --token - --server https://ca.corp.example:9443 --root root.pem --out /etc/app/tls < token`,
		RunE: func(cmd *cobra.Command, names []string) error {
			f.record.Names = names
			if err := f.check(cmd); err != nil {
				return err
			}
			return f.run(cmd, a)
		},
	}
	f.addFlags(cmd)
	return cmd
}

func (f *issueFlags) addFlags(cmd *cobra.Command) {
	f.endpoint.addFlags(cmd)
	f.proof.add(cmd)
	flags, r := cmd.Flags(), &f.record
	flags.StringVar(&r.Profile, "profile", "", "what kind of certificate (default: the server's)")
	flags.StringVar(&f.out, "out", ".", "directory to write to")
	flags.StringVar(&r.Key, "key", "", "use this private key, also when renewing (default: a new one each time)")
	flags.StringVar(&r.KeyType, "key-type", "P-256", "type of a new key: P-256, P-384, P-521, Ed25519, or RSA-2048 and larger")
	flags.BoolVar(&r.ReuseKey, "reuse-key", false, "keep the key when renewing")
	flags.StringVar(&r.P12, "p12", "", "also write key and chain to this PKCS#12 file")
	flags.StringVar(&r.P12PasswordFile, "p12-password-file", "", "file whose first line is its password (default: one is made in FILE.password)")
	flags.StringVar(&r.Owner, "owner", "", "USER:GROUP to whom the files are given")
	flags.StringVar(&r.Exec, "exec", "", "command that \"cert renew\" has the shell run when the files are new")
	flags.StringVar(&r.Method.HTTP, "http", "", "answer http-01 on this address, [HOST]:PORT")
	flags.StringVar(&r.Method.TLS, "tls", "", "answer tls-alpn-01 on this address, [HOST]:PORT")
	flags.StringVar(&r.Method.DNSExec, "dns-exec", "", "answer dns-01 with this command")
	flags.StringVar(&f.eab.KeyID, "eab-kid", "", "key identifier of an external account binding")
	flags.StringVar(&f.eab.MACKey, "eab-hmac", "", "its key, in base64url")
	flags.BoolVar(&f.acceptTerms, "accept-terms", false, "agree to the server's terms of service")
	flags.DurationVar(&f.timeout, "timeout", certTimeout, "how long it may take")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
}

// check refuses flags that contradict each other or the names.
func (f *issueFlags) check(cmd *cobra.Command) error {
	switch {
	case f.record.Key != "" && cmd.Flags().Changed("key-type"):
		return usagef("--key-type is for a new key; --key names one that there is")
	case (f.eab.KeyID == "") != (f.eab.MACKey == ""):
		return usagef("--eab-kid and --eab-hmac go together")
	case f.record.P12PasswordFile != "" && f.record.P12 == "":
		return usagef("--p12-password-file goes with --p12")
	}
	if err := f.proof.check(); err != nil {
		return err
	}
	if f.proof.given() {
		return f.checkToken(cmd)
	}
	if len(f.record.Names) == 0 {
		return usagef("NAME or IP is missing")
	}
	if err := checkMethod(f.record.Method); err != nil {
		return err
	}
	names, err := acmeclient.ParseNames(f.record.Names)
	if err == nil {
		err = f.record.Method.Check(names)
	}
	if err != nil {
		return &usageError{err: err}
	}
	return nil
}

// checkToken refuses what goes with ACME only.
func (f *issueFlags) checkToken(cmd *cobra.Command) error {
	for _, name := range []string{"http", "tls", "dns-exec", "eab-kid", "accept-terms", "account-dir"} {
		if cmd.Flags().Changed(name) {
			return usagef("--%s is for ACME; a token needs no validation and no account", name)
		}
	}
	if len(f.record.Names) > 0 && f.proof.x5c == "" {
		return usagef("NAME is only given without a token: the token says what the certificate is for")
	}
	if _, err := acmeclient.ParseNames(f.record.Names); err != nil {
		return &usageError{err: err}
	}
	return nil
}

func checkMethod(m acmeclient.Method) error {
	given := 0
	for _, value := range []string{m.HTTP, m.TLS, m.DNSExec} {
		if value != "" {
			given++
		}
	}
	if given > 1 {
		return usagef("--http, --tls and --dns-exec exclude each other")
	}
	if address := m.HTTP + m.TLS; address != "" {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return usagef("%q is no address to listen on; write :PORT or HOST:PORT", address)
		}
	}
	return nil
}

func (f *issueFlags) run(cmd *cobra.Command, a *app) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
	defer cancel()
	if err := f.resolve(ctx, a, cmd); err != nil {
		return err
	}
	if err := absolute(&f.record.Key, &f.record.P12, &f.record.P12PasswordFile); err != nil {
		return err
	}
	result, err := f.issue(ctx, a)
	if err != nil {
		return err
	}
	if f.asJSON {
		return printJSON(a.Out, viewResult(result))
	}
	return printResult(a.Out, viewResult(result))
}

func (f *issueFlags) issue(ctx context.Context, a *app) (*acmeclient.Result, error) {
	if f.proof.given() {
		return f.issueByToken(ctx, a)
	}
	r := &f.record
	r.Server, r.Root, r.Accounts = f.server, f.root, f.accounts
	if r.Method == (acmeclient.Method{}) {
		r.Method.HTTP = ":80"
		if f.config != nil {
			r.Method.HTTP = ":" + strconv.Itoa(f.config.Validation.HTTPPort)
		}
	}
	agreed := acmeclient.Agreement{AcceptTerms: f.acceptTerms}
	if f.eab.KeyID != "" {
		agreed.EAB = &f.eab
	}
	return a.keeper().Issue(ctx, f.out, *r, agreed)
}

func (f *issueFlags) issueByToken(ctx context.Context, a *app) (*acmeclient.Result, error) {
	token, err := f.proof.get(ctx, a, &f.endpoint, f.record.Names)
	if err != nil {
		return nil, err
	}
	r := &f.record
	r.Door, r.Server, r.Root, r.Provisioner = acmeclient.TokenDoor, f.doorURL(), f.root, f.proof.provisioner
	if r.TokenFile, err = f.proof.renewable(); err != nil {
		return nil, err
	}
	r.Names = acmeclient.NamesIn(token) // for a look at what is in the directory
	return a.keeper().Issue(ctx, f.out, *r, acmeclient.Agreement{
		Token: func(context.Context) (string, error) { return token, nil },
	})
}
