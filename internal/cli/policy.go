package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"chancery/internal/admin"
)

func newPolicy(a *app) *cobra.Command {
	return newGroup("policy", "Ask who may have which names", newPolicyTest(a))
}

func newPolicyTest(a *app) *cobra.Command {
	var question admin.PolicyQuestion
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "test NAME...",
		Short: "Say whether a certificate for the names would be issued, and by which rule",
		Long: `Say whether a certificate for the names would be issued, and by which rule.

The running server answers by the rules, grants and name constraints in force, as
its doors do. The exit code is 0 when all names are allowed, and 1 otherwise. A
NAME is a DNS name, an address, or as in email:a@corp and uri:spiffe://corp/a.`,
		Args: func(_ *cobra.Command, given []string) error {
			if len(given) == 0 {
				return usagef("NAME is missing")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, names []string) error {
			question.Names = names
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				answer, err := c.TestPolicy(cmd.Context(), question)
				if err != nil {
					return err
				}
				return a.printAnswer(answer, asJSON)
			})
		},
	}
	cmd.Flags().StringVar(&question.Account, "account", "", "the ACME account that asks, with its grant")
	cmd.Flags().StringVar(&question.Provisioner, "provisioner", "", "the provisioner whose token is presented")
	cmd.Flags().StringVar(&question.Grant, "grant", "", "the grant of who asks: an EAB key's identifier or name")
	cmd.Flags().StringVar(&question.Profile, "profile", "", "the profile (default that of the configuration)")
	cmd.Flags().StringVar(&question.Door, "door", "", "the door that is asked (default acme, or token with --provisioner)")
	cmd.Flags().StringVar(&question.KeyType, "key-type", "", "the type of the key, as in P-256 (default any)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// printAnswer ends with an error when something is refused.
func (a *app) printAnswer(answer admin.PolicyAnswer, asJSON bool) (err error) {
	if asJSON {
		err = printJSON(a.Out, answer)
	} else {
		verdicts := func(yield func(admin.PolicyVerdict, error) bool) {
			for verdict := range slices.Values(answer.Names) {
				if !yield(verdict, nil) {
					return
				}
			}
		}
		err = printTable(a.Out, a.Err, "NAME ANSWER RULE REASON", verdicts, func(v admin.PolicyVerdict) []string {
			word := "allowed"
			if !v.Allowed {
				word = "refused"
			}
			return []string{v.Name, word, v.Rule, v.Reason}
		})
	}
	if err == nil && !answer.Allowed {
		err = errors.New("this would be refused")
	}
	return err
}

func newLimits(a *app) *cobra.Command {
	return newGroup("limits", "Look at how often things may happen", newLimitsShow(a))
}

func newLimitsShow(a *app) *cobra.Command {
	var account string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the limits in force, or how much of them an account has used",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				found, err := c.Limits(cmd.Context(), account)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.Out, found)
				}
				return a.printLimits(found, account != "")
			})
		},
	}
	cmd.Flags().StringVar(&account, "account", "", "the ACME account whose orders are looked at")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) printLimits(found admin.Limits, used bool) error {
	list := func(yield func(admin.Limit, error) bool) {
		for limit := range slices.Values(found.Limits) {
			if !yield(limit, nil) {
				return
			}
		}
	}
	if !used {
		return printTable(a.Out, a.Err, "LIMIT RATE", list, func(l admin.Limit) []string { return []string{l.Limit, l.Rate} })
	}
	return printTable(a.Out, a.Err, "LIMIT RATE USED WAIT OF", list, func(l admin.Limit) []string {
		return []string{l.Limit, l.Rate, fmt.Sprint(l.Used), fmt.Sprintf("%.0fs", l.Wait), l.Of}
	})
}
