package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/admin"
)

func newEAB(a *app) *cobra.Command {
	return newGroup("eab", "Make, change and revoke keys for external account binding, and what they grant",
		newEABCreate(a), newEABList(a), newEABShow(a), newEABUpdate(a), newEABRevoke(a))
}

func newEABCreate(a *app) *cobra.Command {
	var wish admin.NewBinding
	var flags grantFlags
	var expires string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a key with which clients may create accounts; it is shown once",
		Long: `Make a key with which clients may create accounts; it is shown once.

A key can carry policy to all accounts that are made with it, and is then a grant.
Patterns are a.corp (the name itself), *.corp (one label more, *.corp included),
**.corp (any depth), 10.2.0.0/16, email:@corp, uri:spiffe://corp/ and ssh:deploy.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if expires != "" {
				if wish.Expires, err = parseTime(expires, time.Now()); err != nil {
					return err
				}
			}
			if wish.Grant, err = flags.grant(); err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				made, err := c.CreateBinding(cmd.Context(), wish)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.Out, made)
				}
				fmt.Fprintf(a.Err, "The HMAC key is not shown again.\n")
				return printFields(a.Out, append([]string{"kid", made.KID, "hmac", made.HMAC}, bindingFields(made)...)...)
			})
		},
	}
	cmd.Flags().StringVar(&wish.Name, "name", "", "a name for people")
	cmd.Flags().BoolVar(&wish.SingleUse, "single-use", false, "good for one account only")
	cmd.Flags().StringVar(&expires, "expires", "", "when it ends: a date, an RFC 3339 time, or a duration such as 30d")
	flags.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newEABList(a *app) *cobra.Command {
	var query admin.BindingQuery
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the keys, newest first, without their secrets",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				found := c.Bindings(cmd.Context(), query)
				if asJSON {
					return printArray(a.Out, found)
				}
				return printTable(a.Out, a.Err, "KID STATUS CREATED EXPIRES USES NAME", found, func(b admin.Binding) []string {
					return []string{b.KID, b.Status, when(b.Created), whenSet(b.Expires), fmt.Sprint(b.Uses), b.Name}
				})
			})
		},
	}
	cmd.Flags().StringVar(&query.Status, "status", "", "only with this status: valid, used, expired or revoked")
	cmd.Flags().StringVar(&query.Name, "name", "", "only with this name")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func newEABRevoke(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "revoke KID",
		Short: "End a key: no new accounts, and of one that carries policy, no new certificates",
		Args:  args(1, "KID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				revoked, err := c.RevokeBinding(cmd.Context(), given[0])
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.Out, revoked)
				}
				fmt.Fprintf(a.Out, "EAB key %s is revoked\n", revoked.KID)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
