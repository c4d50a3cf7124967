package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"chancery/internal/config"
)

func newConfig(a *app) *cobra.Command {
	return newGroup("config", "Check and show the configuration",
		newConfigCheck(a), newConfigShow(a), newConfigSchema(a))
}

func newConfigCheck(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong with the configuration, by line",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			for _, warning := range c.Warnings {
				fmt.Fprintf(a.Err, "warning: %s\n", warning)
			}
			fmt.Fprintf(a.Out, "the configuration of %s is good\n", c.Dir)
			return nil
		},
	}
	a.addFileFlag(cmd)
	return cmd
}

func newConfigShow(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "List every setting with its value and where it was set",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			settings := func(yield func(config.Setting, error) bool) {
				for setting := range slices.Values(c.Settings()) {
					if !yield(setting, nil) {
						return
					}
				}
			}
			if asJSON {
				return printArray(a.Out, settings)
			}
			return printTable(a.Out, a.Err, "KEY VALUE SOURCE", settings, func(s config.Setting) []string {
				return []string{s.Key, s.Value, s.Source}
			})
		},
	}
	a.addFileFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func newConfigSchema(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of chancery.yaml, for editors",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			schema, err := config.Schema()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Out, "%s\n", schema)
			return err
		},
	}
}
