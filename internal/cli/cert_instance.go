package cli

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"

	"chancery/internal/instanceidentity"
)

// instance says that the cloud tells who asks, by the metadata service of the
// instance that this is.
type instance struct {
	aws, gcp, azure bool
	audience        string
	clientID        string
	metadata        string
}

func (i *instance) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&i.aws, "aws", false, "get it by the identity document of this EC2 instance")
	flags.BoolVar(&i.gcp, "gcp", false, "get it by the identity token of this Compute Engine instance")
	flags.BoolVar(&i.azure, "azure", false, "get it by the managed identity of this Azure virtual machine")
	flags.StringVar(&i.audience, "audience", "", "with --gcp and --azure: whom the token is made out for, as the provisioner wants it (default of --gcp: the server)")
	flags.StringVar(&i.clientID, "azure-client-id", "", "which of the managed identities, if there are several")
	flags.StringVar(&i.metadata, "metadata-url", "", "where the metadata service is (default http://169.254.169.254)")
}

func (i *instance) given() bool { return i.aws || i.gcp || i.azure }

func (i *instance) check() error {
	switch {
	case i.audience != "" && !i.gcp && !i.azure:
		return usagef("--audience goes with --gcp and --azure")
	case i.azure && i.audience == "":
		return usagef("--azure needs --audience: the application that the provisioner wants tokens for, as in api://chancery")
	case i.clientID != "" && !i.azure:
		return usagef("--azure-client-id goes with --azure")
	case i.metadata != "" && !i.given():
		return usagef("--metadata-url goes with --aws, --gcp or --azure")
	}
	return nil
}

// provisionerType is that of the provisioners that take the token.
func (i *instance) provisionerType() string {
	switch {
	case i.aws:
		return "aws"
	case i.gcp:
		return "gcp"
	default:
		return "azure"
	}
}

// token asks the metadata service; server is the URL that tokens of gcp are made
// out for, if nothing else is said.
func (i *instance) token(ctx context.Context, server string) (token string, err error) {
	service := instanceidentity.Service{Base: i.metadata}
	switch {
	case i.aws:
		token, err = service.AWS(ctx)
	case i.gcp:
		token, err = service.GCP(ctx, cmp.Or(i.audience, server))
	default:
		token, err = service.Azure(ctx, i.audience, i.clientID)
	}
	if err != nil {
		err = withHint(err, "is this an instance of the cloud, that may ask its metadata service? In a container, the service must be reachable from there (aws: a hop limit of 2)")
	}
	return token, err
}
