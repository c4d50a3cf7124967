package cli

import "github.com/spf13/cobra"

func newCertCommand() *cobra.Command {
	return newGroup("cert", "Get, renew, revoke and inspect certificates")
}
