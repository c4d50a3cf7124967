package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chancery/client"
	"chancery/internal/acmeclient"
	"chancery/internal/oidclogin"
)

// login says how a person logs in.
type login struct {
	device, noBrowser bool
}

func (l *login) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&l.device, "device", false, "log in by a code that is typed in on another device, instead of in a browser here")
	flags.BoolVar(&l.noBrowser, "no-browser", false, "only print the URL to log in at, and open no browser")
}

// token logs in at the provider of a server's provisioner; name "" is for the
// only one of type oidc.
func (l *login) token(ctx context.Context, a *app, server, root, name string) (string, error) {
	c, err := doorClient(server, root)
	if err != nil {
		return "", err
	}
	defer c.CloseIdleConnections()
	provisioner, err := chooseProvisioner(ctx, c, "oidc", name)
	if err != nil {
		return "", err
	}
	// A provider inside the network often has a certificate of the same CA.
	roots, err := systemAnd(root)
	if err != nil {
		return "", err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	defer transport.CloseIdleConnections()
	config := oidclogin.Config{
		Issuer: provisioner.Issuer, ClientID: provisioner.ClientID, Scopes: provisioner.Scopes, Out: a.Err,
		Client: &http.Client{Transport: transport, Timeout: 30 * time.Second},
		Secret: a.env("CHANCERY_OIDC_SECRET"), // of providers that give native clients one
	}
	if l.noBrowser {
		config.Open = func(context.Context, string) error { return nil }
	}
	if l.device {
		return oidclogin.Device(ctx, config)
	}
	return oidclogin.Browser(ctx, config)
}

// chooseProvisioner finds a server's provisioner of a type: the one of that name
// or, when name is "", the only one.
func chooseProvisioner(ctx context.Context, c *client.Client, typ, name string) (*client.Provisioner, error) {
	all, err := c.Provisioners(ctx)
	if err != nil {
		return nil, acmeclient.Explain(err)
	}
	var found []client.Provisioner
	var names []string
	for _, p := range all {
		if p.Type == typ && (name == "" || p.Name == name) {
			found = append(found, p)
		}
		if p.Type == typ {
			names = append(names, p.Name)
		}
	}
	switch {
	case len(found) == 1:
		return &found[0], nil
	case len(found) > 1:
		return nil, withHint(fmt.Errorf("the server has several provisioners of type %s", typ), "choose one with --provisioner: %s", strings.Join(names, ", "))
	case len(names) == 0:
		return nil, withHint(fmt.Errorf("the server has no provisioner of type %s", typ), "its operator makes one with \"chancery provisioner create NAME --type %s\"", typ)
	default:
		return nil, withHint(errors.New("the server has no provisioner "+name+" of type "+typ), "it has %s", strings.Join(names, ", "))
	}
}
