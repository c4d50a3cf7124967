package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chancery/client"
	"chancery/internal/admin"
	"chancery/internal/duration"
	"chancery/internal/expr"
	"chancery/internal/keys"
	"chancery/internal/provisioner"
)

// provisionerFlags are what "provisioner create" is told.
type provisionerFlags struct {
	spec           provisioner.Spec
	names, labels  []string
	lifetime, skew string
	out, file      string
	asJSON         bool
}

func (f *provisionerFlags) add(cmd *cobra.Command) {
	flags, s := cmd.Flags(), &f.spec
	flags.StringVar(&s.Type, "type", "", "how tokens prove who asks: "+strings.Join(provisioner.Types(), ", "))
	flags.StringVar(&f.out, "out", "", "of jwk: make a P-256 key, and write its private half to this file")
	flags.StringVar(&f.file, "file", "", "YAML file with the provisioner's fields, instead of flags")
	flags.StringSliceVar(&s.Profiles, "profiles", nil, "the only profiles its tokens can have, also restricted ones; the first is the default")
	flags.StringArrayVar(&f.names, "names", nil, "the names that a token stands for instead of its own: a name, or cel:EXPRESSION over token; can be repeated")
	flags.StringArrayVar(&f.labels, "label", nil, "a fact for profiles to use, as in team=a; can be repeated")
	flags.StringVar(&f.lifetime, "lifetime", "", "the longest time that its tokens can live")
	flags.StringVar(&f.skew, "skew", "", "how far clocks may be apart")
	flags.BoolVar(&s.Reuse, "reuse", false, "let a token be used again until it expires")
	flags.BoolVar(&s.NoRenewal, "no-renewal", false, "refuse to renew certificates by themselves; each needs a token")
	flags.StringArrayVar(&s.Keys, "keys", nil, "of jwk, kubernetes: file of public keys (JWK, JWK set, PEM); can be repeated")
	flags.StringVar(&s.JWKSURL, "jwks-url", "", "of jwk, kubernetes, gcp, azure: where the public keys are published")
	flags.StringArrayVar(&s.Roots, "roots", nil, "of x5c: file of the CA certificates that tokens' certificates come from; can be repeated")
	flags.StringVar(&s.Issuer, "issuer", "", "of oidc, kubernetes, azure: the URL of who makes the tokens")
	flags.StringVar(&s.ClientID, "client-id", "", "of oidc: the name under which the provider knows this CA's clients")
	flags.StringSliceVar(&s.Scopes, "scopes", nil, "of oidc: what to ask the provider for, besides openid (default: email, profile)")
	flags.StringSliceVar(&s.Audience, "audience", nil, "of oidc, kubernetes, gcp, azure: whom tokens may be made out for")
	flags.StringSliceVar(&s.Domains, "domains", nil, "of oidc: the only domains that users' email addresses can be in")
	flags.StringSliceVar(&s.Groups, "groups", nil, "of oidc: the groups of which users must be in one")
	flags.StringVar(&s.Root, "provider-root", "", "of jwk, oidc, kubernetes, gcp, azure: file of CA certificates to trust there (default: the system's)")
	flags.StringVar(&s.APIServer, "api-server", "", "of kubernetes: the API server that is asked about tokens")
	flags.StringVar(&s.ServiceAccountToken, "service-account-token", "", "of kubernetes: file, on the CA's machine, of the token to ask it with")
	flags.StringVar(&s.TrustDomain, "trust-domain", "", "of kubernetes: the SPIFFE trust domain of its service accounts")
	flags.StringSliceVar(&s.Namespaces, "namespaces", nil, "of kubernetes: the only namespaces")
	flags.StringSliceVar(&s.ServiceAccounts, "service-accounts", nil, "of kubernetes: the only service accounts, NAMESPACE/NAME")
	flags.StringSliceVar(&s.Accounts, "accounts", nil, "of aws: the accounts whose instances may ask")
	flags.StringSliceVar(&s.Regions, "regions", nil, "of aws: the only regions")
	flags.StringSliceVar(&s.Projects, "projects", nil, "of gcp: the projects whose instances may ask")
	flags.StringSliceVar(&s.Tenants, "tenants", nil, "of azure: the tenants whose instances may ask; of oidc: whose users may, where the issuer has {tenantid}")
	flags.StringSliceVar(&s.Subscriptions, "subscriptions", nil, "of azure: the only subscriptions")
	flags.StringArrayVar(&s.Certificates, "certificates", nil, "of aws: file of certificates, each under a line \"# REGION\", instead of those built in; of gcp, azure: file of keys, instead of those fetched; can be repeated")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
}

func (f *provisionerFlags) run(cmd *cobra.Command, a *app, name string) error {
	spec, err := f.read(cmd)
	if err != nil {
		return err
	}
	written, err := f.makeKey(spec)
	if err != nil {
		return err
	}
	var made admin.Provisioner
	err = a.withClient(cmd.Context(), func(c *admin.Client) (err error) {
		made, err = c.CreateProvisioner(cmd.Context(), admin.NewProvisioner{Name: name, Spec: *spec})
		return err
	})
	if err != nil {
		if written { // it is the key of nothing
			err = errors.Join(err, os.Remove(f.out))
		}
		return err
	}
	if f.asJSON {
		return printJSON(a.Out, made)
	}
	fmt.Fprintf(a.Out, "provisioner %s of type %s is made\n", made.Name, made.Spec.Type)
	if written {
		fmt.Fprintf(a.Out, "%s: the private key; who has it gets certificates:\n\n  chancery token --key %s --provisioner %s --server https://HOST:PORT --san NAME\n",
			f.out, shellWord(f.out), shellWord(name))
	}
	return nil
}

// read is the spec as flags or file have it, with files read into it.
func (f *provisionerFlags) read(cmd *cobra.Command) (*provisioner.Spec, error) {
	spec, base := &f.spec, ""
	if f.file != "" {
		if err := f.checkAlone(cmd); err != nil {
			return nil, err
		}
		text, err := os.ReadFile(f.file)
		if err != nil {
			return nil, fmt.Errorf("couldn't read the provisioner: %w", err)
		}
		converted, err := yaml.YAMLToJSON(text)
		if err != nil {
			return nil, fmt.Errorf("couldn't read %s: %w", f.file, err)
		}
		read, err := provisioner.ParseSpec(converted)
		if err != nil {
			return nil, fmt.Errorf("couldn't read %s: %w", f.file, err)
		}
		spec, base = &read, filepath.Dir(f.file)
	} else if err := f.fillIn(); err != nil {
		return nil, err
	}
	if err := f.check(spec); err != nil {
		return nil, err
	}
	return spec, inlineFiles(spec, base)
}

// checkAlone refuses flags beside --file that are fields of the file: they would
// count for nothing, and many of them say who may ask.
func (f *provisionerFlags) checkAlone(cmd *cobra.Command) (err error) {
	cmd.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
		if flag.Changed && !slices.Contains([]string{"file", "out", "json"}, flag.Name) {
			err = usagef("--%s is a field of the file; --file has all of them", flag.Name)
		}
	})
	return err
}

// fillIn reads the flags that are no plain fields.
func (f *provisionerFlags) fillIn() (err error) {
	s := &f.spec
	for _, text := range f.names {
		name := expr.Literal(text)
		if expression, found := strings.CutPrefix(text, "cel:"); found {
			name = expr.CEL[string](expression)
		}
		s.Names = append(s.Names, name)
	}
	if len(f.labels) > 0 {
		if s.Labels, err = parseLabels(f.labels); err != nil {
			return err
		}
	}
	for flag, field := range map[string]struct {
		text string
		into *duration.Duration
	}{"lifetime": {f.lifetime, &s.Lifetime}, "skew": {f.skew, &s.Skew}} {
		if field.text == "" {
			continue
		}
		if *field.into, err = duration.Parse(field.text); err != nil {
			return usagef("--%s: %v", flag, err)
		}
	}
	return nil
}

func (f *provisionerFlags) check(spec *provisioner.Spec) error {
	switch {
	case spec.Type == "":
		return usagef("--type is missing: one of %s", strings.Join(provisioner.Types(), ", "))
	case !slices.Contains(provisioner.Types(), spec.Type):
		return usagef("there is no type %q; write one of %s", spec.Type, strings.Join(provisioner.Types(), ", "))
	case f.out != "" && spec.Type != "jwk":
		return usagef("--out makes a key, which only provisioners of type jwk have")
	case spec.Type == "jwk" && f.out == "" && len(spec.Keys) == 0 && spec.JWKSURL == "":
		return usagef("a provisioner of type jwk needs a key: --out KEY.jwk makes one, --keys and --jwks-url name public ones")
	}
	return nil
}

// inlineFiles puts the contents of files in their place, so that the provisioner
// needs none where it is stored.
func inlineFiles(spec *provisioner.Spec, base string) error {
	fields := []*string{&spec.Root}
	for _, list := range [][]string{spec.Keys, spec.Roots, spec.Certificates} {
		for i := range list {
			fields = append(fields, &list[i])
		}
	}
	for _, field := range fields {
		if text := strings.TrimSpace(*field); text == "" || strings.HasPrefix(text, "{") || strings.HasPrefix(text, "-----BEGIN") {
			continue
		}
		path := *field
		if !filepath.IsAbs(path) {
			path = filepath.Join(base, path)
		}
		content, err := os.ReadFile(path) //nolint:gosec // the operator names it
		if err != nil {
			return fmt.Errorf("couldn't read a file of the provisioner: %w", err)
		}
		*field = string(content)
	}
	return nil
}

// makeKey makes the key of --out, and adds its public half to the spec.
func (f *provisionerFlags) makeKey(spec *provisioner.Spec) (written bool, err error) {
	if f.out == "" {
		return false, nil
	}
	key, err := keys.Generate(rand.Reader, "P-256")
	if err != nil {
		return false, fmt.Errorf("couldn't make the key: %w", err)
	}
	private, err := client.MarshalKey(key)
	if err != nil {
		return false, err
	}
	public, err := client.MarshalPublicKey(key.Public())
	if err != nil {
		return false, err
	}
	err = keys.WriteNew(f.out, private, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return false, withHint(err, "choose another file with --out; to use the key in it, give its public half with --keys")
	}
	spec.Keys = append(spec.Keys, string(public))
	return err == nil, err
}
