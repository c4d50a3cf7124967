package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/admin"
)

func newCerts(a *app) *cobra.Command {
	return newGroup("certs", "List and show the certificates that were issued", newCertsList(a), newCertsShow(a))
}

func newCertsList(a *app) *cobra.Command {
	var filter admin.CertificateFilter
	var expires string
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List certificates, newest first",
		Example: `  chancery certs list --name www.corp.example
  chancery certs list --expires-before 30d --status valid --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.certsBefore(&filter, expires, limit); err != nil {
				return err
			}
			filter.Account = idOf(filter.Account)
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				found := c.Certificates(cmd.Context(), filter, limit)
				if asJSON {
					return printArray(a.Out, found)
				}
				return printTable(a.Out, a.Err, "SERIAL STATUS EXPIRES PROFILE NAMES", found, certificateRow)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&filter.Name, "name", "", "only those that carry this DNS name or address")
	flags.StringVar(&filter.Account, "account", "", "only this ACME account's")
	flags.StringVar(&filter.Profile, "profile", "", "only of this profile")
	flags.StringVar(&filter.Status, "status", "", "only with this status: valid, expired, revoked or abandoned")
	flags.StringVar(&expires, "expires-before", "", "only those that expire before a time: a date, an RFC 3339 time, or 30d")
	flags.IntVar(&limit, "limit", 0, "at most so many; 0 for all")
	flags.BoolVar(&asJSON, "json", false, "print a JSON array")
	statuses := cobra.FixedCompletions([]cobra.Completion{"valid", "expired", "revoked", "abandoned"}, cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc("status", statuses) // fails only for flags there are not
	return cmd
}

func (a *app) certsBefore(filter *admin.CertificateFilter, expires string, limit int) (err error) {
	if limit < 0 {
		return usagef("--limit is %d; give 0 for all, or a number above it", limit)
	}
	if expires != "" {
		filter.ExpiresBefore, err = parseTime(expires, time.Now())
	}
	return err
}

func certificateRow(c admin.Certificate) []string {
	return []string{c.Serial, c.Status, when(c.NotAfter), c.Profile, listed(c.Names)}
}

func newCertsShow(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show SERIAL",
		Short: "Show one certificate, by serial number or SHA-256 fingerprint",
		Args:  args(1, "SERIAL"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				found, err := c.Certificate(cmd.Context(), given[0])
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.Out, found)
				}
				return a.showCertificate(found)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) showCertificate(c admin.Certificate) error {
	if err := printFields(a.Out,
		"serial", c.Serial,
		"names", strings.Join(c.Names, " "),
		"status", c.Status,
		"valid from", when(c.NotBefore),
		"valid until", when(c.NotAfter),
		"issued", when(c.Issued),
		"revoked", whenSet(c.RevokedAt),
		"reason", c.Reason,
		"profile", c.Profile,
		"requester", c.Requester,
		"order", c.Order,
		"rule", c.Rule,
		"issuer", c.Issuer,
		"SHA-256", c.Fingerprint,
	); err != nil {
		return err
	}
	_, err := fmt.Fprint(a.Out, c.PEM)
	return err
}
