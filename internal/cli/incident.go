package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/admin"
	"chancery/internal/duration"
)

func newIncident(a *app) *cobra.Command {
	return newGroup("incident", "Have the clients of certificates renew them early",
		newIncidentOpen(a), newIncidentList(a), newIncidentShow(a), newIncidentClose(a))
}

func newIncidentOpen(a *app) *cobra.Command {
	var selected queryFlags
	var explanation, within string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "open",
		Short: "Have the clients of the certificates that the flags select renew them early",
		Long: `Have the clients of the certificates that the flags select renew them early.

Clients that ask when to renew (RFC 9773) are each given a share of the time until
all should have renewed. They ask every six hours or so. Certificates that are
issued from now on are not concerned.`,
		Example: `  chancery incident open --issuer 0a1b2c3d4e5f6071 --explanation https://wiki.corp.example/incident
  chancery incident open --issued-before 2027-01-31 --within 72h`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query, err := selected.resolve(time.Now())
			if err != nil {
				return err
			}
			if query.IsZero() {
				return usagef("nothing says which certificates are to be renewed; give %s flag that selects", queryFlagNames)
			}
			span, err := duration.Parse(within)
			if err != nil {
				return usagef("--within: %v", err)
			}
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				if err := findService(cmd.Context(), c, &query); err != nil {
					return err
				}
				opened, err := c.OpenIncident(cmd.Context(), admin.NewIncident{
					Query: query, Explanation: explanation, RenewBy: time.Now().Add(span.Std()),
				})
				if err != nil {
					return err
				}
				if opened, err = c.Incident(cmd.Context(), opened.ID); err != nil {
					return err
				}
				return a.printIncident(opened, asJSON)
			})
		},
	}
	selected.add(cmd)
	cmd.Flags().StringVar(&explanation, "explanation", "", "URL of a page that says why")
	cmd.Flags().StringVar(&within, "within", "24h", "how long the renewals may take")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newIncidentList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List incidents, newest first",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				found := c.Incidents(cmd.Context())
				if asJSON {
					return printArray(a.Out, found)
				}
				return printTable(a.Out, a.Err, "INCIDENT STATUS OPENED RENEW-BY QUERY", found, func(i admin.Incident) []string {
					return []string{i.ID, statusOfIncident(i), when(i.Opened), when(i.RenewBy), queryText(i)}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func newIncidentShow(a *app) *cobra.Command {
	var asJSON, remaining bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one incident, and how many certificates have been renewed",
		Args:  args(1, "ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				if remaining {
					return a.printCertificates(c.Remaining(cmd.Context(), given[0], 0), asJSON, false)
				}
				found, err := c.Incident(cmd.Context(), given[0])
				if err != nil {
					return err
				}
				return a.printIncident(found, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&remaining, "remaining", false, "list the certificates that have not been renewed")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newIncidentClose(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "close ID",
		Short: "Close an incident: what has not been renewed is renewed at its usual time",
		Args:  args(1, "ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				closed, err := c.CloseIncident(cmd.Context(), given[0])
				if err != nil {
					return err
				}
				return a.printIncident(closed, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) printIncident(i admin.Incident, asJSON bool) error {
	if asJSON {
		return printJSON(a.Out, i)
	}
	if i.Progress == nil {
		return errors.New("the server did not say how far the incident is")
	}
	return printFields(a.Out,
		"incident", i.ID,
		"status", statusOfIncident(i),
		"certificates", queryText(i),
		"explanation", i.Explanation,
		"opened", when(i.Opened),
		"renew by", when(i.RenewBy),
		"closed", whenSet(i.Closed),
		"affected", fmt.Sprint(i.Progress.Affected),
		"renewed", fmt.Sprint(i.Progress.Renewed),
		"ended", fmt.Sprint(i.Progress.Ended),
		"remaining", fmt.Sprint(i.Progress.Remaining),
	)
}

func statusOfIncident(i admin.Incident) string {
	if i.Closed != nil {
		return "closed"
	}
	return "open"
}

// queryText is an incident's query in the words of the API.
func queryText(i admin.Incident) string {
	values := i.Query.Values()
	words := make([]string, 0, len(values))
	for _, name := range sortedKeys(values) {
		words = append(words, name+"="+values.Get(name))
	}
	return strings.Join(words, " ")
}
