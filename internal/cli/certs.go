package cli

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/admin"
	"chancery/internal/inventory"
)

func newCerts(a *app) *cobra.Command {
	return newGroup("certs", "List, show, count and revoke the certificates that were issued",
		newCertsList(a), newCertsShow(a), newCertsCount(a), newCertsRevoke(a))
}

func newCertsList(a *app) *cobra.Command {
	var selected queryFlags
	var asJSON, asCSV bool
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List certificates, newest first",
		Long: `List certificates, newest first. What several flags say must all hold.

--json and --csv write everything that is selected, however much it is, without
keeping it in memory.`,
		Example: `  chancery certs list --name '**.corp.example' --status valid
  chancery certs list --expires-before 30d --status valid --json
  chancery certs list --revoked-after -7d --csv`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query, err := selected.resolve(time.Now())
			switch {
			case err != nil:
				return err
			case limit < 0:
				return usagef("--limit is %d; give 0 for all, or a number above it", limit)
			case asJSON && asCSV:
				return usagef("give --json or --csv, not both")
			}
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				if err := findService(cmd.Context(), c, &query); err != nil {
					return err
				}
				return a.printCertificates(c.Certificates(cmd.Context(), query, limit), asJSON, asCSV)
			})
		},
	}
	selected.add(cmd)
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many; 0 for all")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	cmd.Flags().BoolVar(&asCSV, "csv", false, "print CSV with a header line")
	return cmd
}

func (a *app) printCertificates(list iter.Seq2[admin.Certificate, error], asJSON, asCSV bool) error {
	switch {
	case asJSON:
		return printArray(a.Out, list)
	case asCSV:
		return admin.WriteCSV(a.Out, list)
	default:
		return printTable(a.Out, a.Err, "SERIAL STATUS EXPIRES PROFILE NAMES", list, certificateRow)
	}
}

func certificateRow(c admin.Certificate) []string {
	return []string{c.Serial, c.Status, when(c.NotAfter), c.Profile, listed(c.Names)}
}

func newCertsCount(a *app) *cobra.Command {
	var selected queryFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "count",
		Short: "Count certificates by their status",
		Long: `Count certificates by their status. That takes the same time for any number of
certificates, as long as nothing but --issuer and --profile is given.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query, err := selected.resolve(time.Now())
			if err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				return a.countCertificates(cmd.Context(), c, query, asJSON)
			})
		},
	}
	selected.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) countCertificates(ctx context.Context, c *admin.Client, query inventory.Query, asJSON bool) error {
	if err := findService(ctx, c, &query); err != nil {
		return err
	}
	counts, err := c.CountCertificates(ctx, query)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(a.Out, counts)
	}
	return printFields(a.Out, "valid", fmt.Sprint(counts.Valid), "expired", fmt.Sprint(counts.Expired),
		"revoked", fmt.Sprint(counts.Revoked), "abandoned", fmt.Sprint(counts.Abandoned))
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
		"subject", c.Subject,
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
		"service", c.Service,
		"replaces", c.Replaces,
		"renewed from", c.RenewedFrom,
		"replaced by", c.ReplacedBy,
		"SHA-256", c.Fingerprint,
		"key SHA-256", c.KeyHash,
	); err != nil {
		return err
	}
	_, err := fmt.Fprint(a.Out, c.PEM)
	return err
}
