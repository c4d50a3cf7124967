package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"chancery/internal/admin"
)

func newAccounts(a *app) *cobra.Command {
	return newGroup("accounts", "List, show and deactivate ACME accounts",
		newAccountsList(a), newAccountsShow(a), newAccountsDeactivate(a))
}

func newAccountsList(a *app) *cobra.Command {
	var query admin.AccountQuery
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List accounts, newest first",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				found := c.Accounts(cmd.Context(), query, limit)
				if asJSON {
					return printArray(a.Out, found)
				}
				return printTable(a.Out, a.Err, "ACCOUNT STATUS CREATED CONTACT", found, func(v admin.Account) []string {
					return []string{v.ID, v.Status, when(v.Created), listed(v.Contact)}
				})
			})
		},
	}
	cmd.Flags().StringVar(&query.EAB, "eab", "", "only those made with this EAB key")
	cmd.Flags().StringVar(&query.Status, "status", "", "only with this status: valid, deactivated or revoked")
	cmd.Flags().StringVar(&query.Contact, "contact", "", "only with this text in a contact")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many; 0 for all")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func newAccountsShow(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one account",
		Args:  args(1, "ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				account, err := c.Account(cmd.Context(), idOf(given[0]))
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.Out, account)
				}
				return printFields(a.Out,
					"account", account.ID,
					"status", account.Status,
					"contact", strings.Join(account.Contact, " "),
					"created", when(account.Created),
					"terms agreed", whenSet(account.Terms),
					"EAB key", account.EAB,
					"key", account.Thumbprint)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newAccountsDeactivate(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "deactivate ID",
		Short: "Close an account for good; its certificates stay valid",
		Args:  args(1, "ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				account, err := c.DeactivateAccount(cmd.Context(), idOf(given[0]))
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.Out, account)
				}
				fmt.Fprintf(a.Out, "account %s is closed\n", account.ID)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
