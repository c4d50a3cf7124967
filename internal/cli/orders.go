package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"chancery/internal/admin"
	"chancery/internal/validation"
)

func newOrders(a *app) *cobra.Command {
	return newGroup("orders", "List ACME orders, and show why one failed", newOrdersList(a), newOrdersShow(a))
}

func newOrdersList(a *app) *cobra.Command {
	var query admin.OrderQuery
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List orders, newest first",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				query.Account = idOf(query.Account)
				found := c.Orders(cmd.Context(), query, limit)
				if asJSON {
					return printArray(a.Out, found)
				}
				return printTable(a.Out, a.Err, "ORDER STATUS CREATED PROFILE NAMES", found, func(o admin.Order) []string {
					return []string{o.ID, o.Status, when(o.Created), o.Profile, listed(o.Names)}
				})
			})
		},
	}
	cmd.Flags().StringVar(&query.Account, "account", "", "only this account's")
	cmd.Flags().StringVar(&query.Status, "status", "", "only with this status: pending, ready, processing, valid or invalid")
	cmd.Flags().StringVar(&query.Name, "name", "", "only with this name")
	cmd.Flags().StringVar(&query.Profile, "profile", "", "only of this profile")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many; 0 for all")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func newOrdersShow(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one order, with the transcript of each validation",
		Args:  args(1, "ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				order, err := c.Order(cmd.Context(), idOf(given[0]))
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.Out, order)
				}
				return a.showOrder(order)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) showOrder(o admin.Order) error {
	if err := printFields(a.Out,
		"order", o.ID,
		"status", o.Status,
		"names", strings.Join(o.Names, " "),
		"error", problemText(o.Error),
		"account", o.Account,
		"profile", o.Profile,
		"created", when(o.Created),
		"expires", when(o.Expires),
		"finalized", whenSet(o.Finalized),
		"certificate", o.Certificate,
		"replaces", o.Replaces,
	); err != nil {
		return err
	}
	for _, authorization := range o.Authorizations {
		a.showAuthorization(authorization)
	}
	return nil
}

func (a *app) showAuthorization(z admin.Authorization) {
	fmt.Fprintf(a.Out, "\n%s: %s", z.Name, z.Status)
	if z.Method != "" {
		fmt.Fprintf(a.Out, " by %s", z.Method)
	}
	fmt.Fprintln(a.Out)
	if z.Error != nil {
		fmt.Fprintf(a.Out, "  %s\n", problemText(z.Error))
	}
	for i, attempt := range z.Attempts {
		fmt.Fprintf(a.Out, "  attempt %d, %s, %s: %s after %.3f s\n", i+1, attempt.Method, when(attempt.Started), attempt.Outcome, attempt.Seconds)
		for _, line := range transcriptLines(attempt.Transcript) {
			fmt.Fprintf(a.Out, "    %s\n", line)
		}
	}
}

func problemText(p *admin.Problem) string {
	if p == nil {
		return ""
	}
	return p.Kind + ": " + p.Text
}

// transcriptLines writes a transcript for people, a line for each step. One
// that another version wrote differently is shown as it is.
func transcriptLines(raw json.RawMessage) []string {
	var transcript validation.Transcript
	if json.Unmarshal(raw, &transcript) != nil || transcript.Outcome == "" {
		if len(raw) == 0 {
			return nil
		}
		return []string{string(raw)}
	}
	return strings.Split(strings.TrimRight(transcript.String(), "\n"), "\n")
}

// idOf takes the id out of the URL that an ACME client prints for an account or
// order; an id stays as it is.
func idOf(text string) string { return text[strings.LastIndexByte(text, '/')+1:] }
