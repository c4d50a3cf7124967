package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"chancery/internal/admin"
	"chancery/internal/provisioner"
)

func newProvisioner(a *app) *cobra.Command {
	return newGroup("provisioner", "Say who vouches for those who ask for certificates with tokens",
		newProvisionerCreate(a), newProvisionerList(a), newProvisionerRemove(a))
}

func newProvisionerList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List provisioners, those of the configuration first",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				found := c.Provisioners(cmd.Context())
				if asJSON {
					return printArray(a.Out, found)
				}
				return printTable(a.Out, a.Err, "NAME TYPE SOURCE CREATED PROFILES", found, func(p admin.Provisioner) []string {
					return []string{p.Name, p.Spec.Type, p.Source, whenSet(p.Created), listed(p.Spec.Profiles)}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func newProvisionerRemove(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a provisioner: its tokens are refused at once, and its certificates are not renewed",
		Args:  args(1, "NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				removed, err := c.RemoveProvisioner(cmd.Context(), given[0])
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.Out, removed)
				}
				fmt.Fprintf(a.Out, "provisioner %s is removed\n", removed.Name)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newProvisionerCreate(a *app) *cobra.Command {
	f := &provisionerFlags{}
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a provisioner, in force at once",
		Long: `Make a provisioner, in force at once. Of the types there are

` + provisionerTypes() + `

Flags for one type are refused for others. What is not a flag, --file takes: a YAML
file with the fields that "provisioners: NAME:" has in chancery.yaml. Files that are
named are read here, and stored with the provisioner.`,
		Example: `  chancery provisioner create deploy --type jwk --out deploy.jwk --dir /var/lib/chancery
  chancery provisioner create people --type oidc --issuer https://login.corp.example --client-id chancery --domains corp.example
  chancery provisioner create old --type x5c --roots old-root.pem
  chancery provisioner create cluster --type kubernetes --issuer https://k8s.corp.example --trust-domain corp.example`,
		Args: args(1, "NAME"),
		RunE: func(cmd *cobra.Command, given []string) error { return f.run(cmd, a, given[0]) },
	}
	f.add(cmd)
	types := cobra.FixedCompletions(provisioner.Types(), cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc("type", types) // fails only for flags there are not
	return cmd
}

// provisionerTypes says what each type is for.
func provisionerTypes() string {
	about := map[string]string{
		"jwk":        "tokens signed with a key; --out makes one for \"chancery token\"",
		"oidc":       "ID tokens of people who log in at an identity provider",
		"x5c":        "tokens signed with the key of a certificate of another CA",
		"kubernetes": "tokens of service accounts",
		"aws":        "identity documents of instances", "gcp": "identity tokens of instances", "azure": "identity tokens of instances",
	}
	var lines []string
	for _, typ := range provisioner.Types() {
		lines = append(lines, fmt.Sprintf("  %-11s %s", typ, about[typ]))
	}
	return strings.Join(lines, "\n")
}
