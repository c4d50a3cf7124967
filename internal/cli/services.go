package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/admin"
	"chancery/internal/inventory"
)

func newServices(a *app) *cobra.Command {
	return newGroup("services", "List and show services: the certificates of the same names, one after the other",
		newServicesList(a), newServicesShow(a))
}

func newServicesList(a *app) *cobra.Command {
	var query inventory.ServiceQuery
	var expires string
	var healthy, unhealthy, asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List services, those first that were first seen last",
		Long: `List services, those first that were first seen last. A service is a set of names;
it is healthy while any certificate with exactly these names is good.`,
		Example: `  chancery services list --unhealthy
  chancery services list --expires-before 7d`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			switch {
			case healthy && unhealthy:
				return usagef("give --healthy or --unhealthy, not both")
			case healthy:
				query.Health = "healthy"
			case unhealthy:
				query.Health = "unhealthy"
			}
			if expires != "" {
				if query.ExpiresBefore, err = parseTime(expires, time.Now()); err != nil {
					return err
				}
			}
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				found := c.Services(cmd.Context(), query, limit)
				if asJSON {
					return printArray(a.Out, found)
				}
				return printTable(a.Out, a.Err, "SERVICE HEALTH UNTIL CERTIFICATES NAMES", found, func(s admin.Service) []string {
					return []string{s.ID, healthOf(s), whenSet(s.ValidUntil), fmt.Sprint(s.Certificates), listed(s.Names)}
				})
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&query.Name, "name", "", "those with this name, or one that a pattern matches: *.corp or **.corp")
	flags.StringVar(&query.Contains, "contains", "", "those with this text in a name, three characters at least")
	flags.BoolVar(&healthy, "healthy", false, "those with a good certificate")
	flags.BoolVar(&unhealthy, "unhealthy", false, "those without a good certificate")
	flags.StringVar(&expires, "expires-before", "", "those whose last good certificate ends before a time: a date, an RFC 3339 time, or a span such as 7d")
	flags.IntVar(&limit, "limit", 0, "at most so many; 0 for all")
	flags.BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func healthOf(s admin.Service) string {
	if s.Healthy {
		return "healthy"
	}
	return "unhealthy"
}

func newServicesShow(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ID|NAME",
		Short: "Show one service and its certificates, newest first",
		Args:  args(1, "ID or NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				found, err := c.Service(cmd.Context(), given[0])
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.Out, found)
				}
				if err := printFields(a.Out,
					"service", found.ID,
					"names", strings.Join(found.Names, " "),
					"health", healthOf(found),
					"valid until", whenSet(found.ValidUntil),
					"first issued", when(found.First),
					"last issued", when(found.Last),
				); err != nil {
					return err
				}
				fmt.Fprintln(a.Out)
				return a.printCertificates(c.Certificates(cmd.Context(), inventory.Query{Service: found.ID}, 0), false, false)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, without the certificates")
	return cmd
}
