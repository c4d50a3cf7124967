package cli

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chancery/client"
	"chancery/internal/acmeclient"
)

// serviceAccountToken is where Kubernetes puts a pod's token.
const serviceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // a path

// proof says how "cert issue" gets a token.
type proof struct {
	flags       *pflag.FlagSet
	login       login
	instance    instance
	token       string
	oidc, k8s   bool
	k8sToken    string
	x5c, x5cKey string
	provisioner string
}

func (p *proof) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	p.flags = flags
	flags.StringVar(&p.token, "token", "", "get the certificate by this token instead of over ACME; - reads it from standard input")
	flags.BoolVar(&p.oidc, "oidc", false, "get it by logging in at the provider of a provisioner of type oidc")
	flags.BoolVar(&p.k8s, "k8s", false, "get it by the token of the Kubernetes service account")
	flags.StringVar(&p.k8sToken, "k8s-token", "", "file of that token (default \""+serviceAccountToken+"\")")
	flags.StringVar(&p.x5c, "x5c", "", "get it by this certificate of another CA, for a provisioner of type x5c")
	flags.StringVar(&p.x5cKey, "x5c-key", "", "file of its key (default: the file of --x5c)")
	flags.StringVar(&p.provisioner, "provisioner", "", "name of the provisioner (default: the one that fits)")
	p.login.add(cmd)
	p.instance.add(cmd)
}

// given reports whether a token is to be used.
func (p *proof) given() bool {
	return p.token != "" || p.oidc || p.usesK8s() || p.x5c != "" || p.instance.given()
}

func (p *proof) usesK8s() bool { return p.k8s || p.k8sToken != "" }

// check refuses flags that contradict each other.
func (p *proof) check() error {
	given := 0
	for _, is := range []bool{p.token != "", p.oidc, p.usesK8s(), p.x5c != "", p.instance.aws, p.instance.gcp, p.instance.azure} {
		if is {
			given++
		}
	}
	if err := checkToken(p.flags, p.token); err != nil {
		return err
	}
	switch {
	case given > 1:
		return usagef("--token, --oidc, --k8s, --x5c, --aws, --gcp and --azure exclude each other")
	case p.x5c == "" && p.x5cKey != "":
		return usagef("--x5c-key goes with --x5c")
	case (p.login.device || p.login.noBrowser) && !p.oidc:
		return usagef("--device and --no-browser go with --oidc")
	case p.provisioner != "" && given == 0:
		return usagef("--provisioner goes with --token, --oidc, --k8s, --x5c, --aws, --gcp or --azure")
	}
	return p.instance.check()
}

// get gets the token. Names are for x5c: some of its certificate's, or all if
// there are none.
func (p *proof) get(ctx context.Context, a *app, e *endpoint, names []string) (string, error) {
	switch {
	case p.token != "":
		return a.givenToken(p.token)
	case p.oidc:
		return p.login.token(ctx, a, e.doorURL(), e.root, p.provisioner)
	case p.usesK8s():
		token, err := acmeclient.ReadTokenFile(p.k8sTokenFile())
		if errors.Is(err, fs.ErrNotExist) {
			err = withHint(err, "is this a pod with a service account? --k8s-token names a projected token elsewhere")
		}
		return token, err
	case p.instance.given():
		if err := p.choose(ctx, e, p.instance.provisionerType()); err != nil {
			return "", err
		}
		return p.instance.token(ctx, e.doorURL())
	default:
		return p.byCertificate(ctx, e, names)
	}
}

// givenToken is a token as --token has it.
func (a *app) givenToken(text string) (string, error) {
	if text == "-" {
		return acmeclient.ReadToken(a.In)
	}
	return strings.TrimSpace(text), nil
}

// checkToken refuses a --token that says nothing.
func checkToken(flags *pflag.FlagSet, text string) error {
	if flags.Changed("token") && strings.TrimSpace(text) == "" {
		return usagef("--token is empty; did the command that makes it fail?")
	}
	return nil
}

func (p *proof) k8sTokenFile() string { return cmp.Or(p.k8sToken, serviceAccountToken) }

// renewable is the file that has a fresh token at any time, or "".
func (p *proof) renewable() (string, error) {
	if !p.usesK8s() {
		return "", nil
	}
	return filepath.Abs(p.k8sTokenFile())
}

// choose sets the provisioner, if none is named: the server's only one of the
// type.
func (p *proof) choose(ctx context.Context, e *endpoint, typ string) error {
	if p.provisioner != "" {
		return nil
	}
	c, err := doorClient(e.doorURL(), e.root)
	if err != nil {
		return err
	}
	defer c.CloseIdleConnections()
	found, err := chooseProvisioner(ctx, c, typ, "")
	if err == nil {
		p.provisioner = found.Name
	}
	return err
}

// byCertificate makes a token of type x5c.
func (p *proof) byCertificate(ctx context.Context, e *endpoint, names []string) (string, error) {
	order := client.Token{Server: e.doorURL(), Names: names}
	var err error
	if order.Chain, err = acmeclient.ReadCertificates(p.x5c); err != nil {
		return "", err
	}
	if order.Key, err = client.ReadKey(cmp.Or(p.x5cKey, p.x5c)); err != nil {
		if p.x5cKey == "" {
			err = withHint(err, "--x5c-key names the file of the certificate's key")
		}
		return "", err
	}
	if err := p.choose(ctx, e, "x5c"); err != nil {
		return "", err
	}
	order.Provisioner = p.provisioner
	order.Subject = subjectOf(order.Chain[0])
	if len(names) == 0 {
		order.Names = acmeclient.FormatNames(acmeclient.NamesOf(order.Chain[0]))
	}
	if len(order.Names) == 0 {
		return "", errors.New("the certificate of --x5c has no names, so there is nothing to get one for")
	}
	return order.Sign()
}

func subjectOf(c *x509.Certificate) string { return c.Subject.CommonName }
