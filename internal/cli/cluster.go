package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/admin"
	"chancery/internal/cluster"
)

func newCluster(a *app) *cobra.Command {
	return newGroup("cluster", "Look at the nodes that share a database", newClusterStatus(a))
}

func newClusterStatus(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the nodes, what each does for all, and what is wrong with them",
		Long: `Show the nodes that share the database, when each was last seen, whether it can
issue, and the jobs that it does for all: tidying, and the revocation lists of
issuers. What is wrong with them together follows on standard error.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				status, err := c.Cluster(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.Out, status)
				}
				return a.printCluster(status)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) printCluster(status cluster.Status) error {
	if status.Store == cluster.Embedded {
		fmt.Fprintln(a.Out, "one node, with the embedded store")
		return nil
	}
	err := printTable(a.Out, a.Err, "NODE ID VERSION SINCE SEEN READY ADDRESS JOBS", each(status.Nodes), func(n cluster.Node) []string {
		ready := "yes"
		switch {
		case n.Missing:
			ready = "gone"
		case !n.Ready:
			ready = "no"
		}
		age := time.Duration(n.Age * float64(time.Second)).Round(time.Second)
		return []string{n.Name, fmt.Sprintf("%.8s", n.ID), n.Version, when(n.Started), age.String(), ready, n.Address, jobsText(n.Leases)}
	})
	for _, warning := range status.Warnings {
		fmt.Fprintf(a.Err, "warning: %s\n", warning)
	}
	return err
}

// jobsText shortens the ids of issuers in the names of jobs.
func jobsText(jobs []string) string {
	short := make([]string, len(jobs))
	for i, job := range jobs {
		name, id, found := strings.Cut(job, ":")
		if short[i] = name; found {
			short[i] += fmt.Sprintf(":%.8s", id)
		}
	}
	return strings.Join(short, ", ")
}
