package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"chancery/internal/admin"
)

func newReload(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the running server read its configuration again",
		Long: `Have the running server read its configuration again. One that is bad anywhere
is refused whole, and the running one stays in force.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				reloaded, err := c.Reload(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(a.Out, reloaded)
				}
				a.showReloaded(reloaded)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) showReloaded(r admin.Reloaded) {
	switch {
	case len(r.Changed) > 0:
		fmt.Fprintf(a.Out, "now in force: %s\n", strings.Join(r.Changed, ", "))
	case len(r.Restart) == 0:
		fmt.Fprintln(a.Out, "nothing has changed")
	}
	if len(r.Restart) > 0 {
		fmt.Fprintf(a.Out, "changed, but only a restart puts it in force: %s\n", strings.Join(r.Restart, ", "))
	}
}
