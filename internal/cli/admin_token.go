package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/admin"
)

func newAdmin(a *app) *cobra.Command {
	return newGroup("admin", "Say who may administer the CA from elsewhere",
		newGroup("token", "Make, list and revoke tokens for the administrative API",
			newTokenCreate(a), newTokenList(a), newTokenRevoke(a)))
}

func newTokenCreate(a *app) *cobra.Command {
	var wish admin.NewToken
	var expires string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a token; it is shown once",
		Long: `Make a token with which somebody may use the administrative API over HTTPS, as
"chancery certs list --server URL --token-file FILE" does. It is shown once.

A viewer sees everything but secrets; an operator also revokes, and handles
incidents, accounts and EAB keys; an admin does everything, and can take backups,
which hold the keys of the CA.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if wish.Name == "" || wish.Role == "" {
				return usagef("give the token a --name and a --role")
			}
			if expires != "never" {
				if wish.Expires, err = parseTime(expires, time.Now()); err != nil {
					return err
				}
			}
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				made, err := c.CreateToken(cmd.Context(), wish)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.Out, made)
				}
				fmt.Fprintf(a.Err, "token %s, with the role %s; it is not shown again\n", made.ID, made.Role)
				_, err = fmt.Fprintln(a.Out, made.Secret)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&wish.Name, "name", "", "whose it is, for people")
	cmd.Flags().StringVar(&wish.Role, "role", "", "what it is for: viewer, operator or admin")
	cmd.Flags().StringVar(&expires, "expires", "90d", "when it ends: a date, an RFC 3339 time, a duration, or never")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	roles := cobra.FixedCompletions([]cobra.Completion{"viewer", "operator", "admin"}, cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc("role", roles) // fails only for flags there are not
	return cmd
}

func newTokenList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tokens, newest first, without their secrets",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				found := c.Tokens(cmd.Context())
				if asJSON {
					return printArray(a.Out, found)
				}
				return printTable(a.Out, a.Err, "TOKEN STATUS ROLE CREATED EXPIRES NAME", found, func(t admin.Token) []string {
					return []string{t.ID, t.Status, t.Role, when(t.Created), whenSet(t.Expires), t.Name}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func newTokenRevoke(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "revoke ID",
		Short: "End a token at once",
		Args:  args(1, "ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				revoked, err := c.RevokeToken(cmd.Context(), given[0])
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.Out, revoked)
				}
				fmt.Fprintf(a.Out, "token %s is revoked\n", revoked.ID)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
