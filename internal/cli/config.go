package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/config"
	"chancery/internal/lint"
)

func newConfig(a *app) *cobra.Command {
	return newGroup("config", "Check and show the configuration",
		newConfigCheck(a), newConfigShow(a), newConfigSchema(a))
}

func newConfigCheck(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong with the configuration, by line",
		Long: `Say what is wrong with the configuration, by line.

Samples of what the profiles make are linted, too, under the certificates that
sign now, as a server does when it loads them.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			for _, warning := range c.Warnings {
				fmt.Fprintf(a.Err, "warning: %s\n", warning)
			}
			if err := a.checkProfiles(c, time.Now()); err != nil {
				return err
			}
			fmt.Fprintf(a.Out, "the configuration of %s is good\n", c.Dir)
			return nil
		},
	}
	a.addFileFlag(cmd)
	return cmd
}

// checkProfiles refuses what a server would refuse when it loads the profiles
// of c, all of it at once.
func (a *app) checkProfiles(c *config.Config, now time.Time) error {
	var errs []error
	linter := lint.New()
	for _, name := range slices.Sorted(maps.Keys(c.Compiled)) {
		place := c.Place("profiles." + name)
		issuer, err := trialIssuer(c, c.Compiled[name], now)
		if err != nil {
			return err
		}
		warnings, err := linter.Profile(c.Compiled[name], issuer, now)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: profiles.%s: %w", place, name, err))
		}
		for _, warning := range warnings {
			fmt.Fprintf(a.Err, "warning: %s: profiles.%s: some may not like its certificates: %s\n", place, name, warning)
		}
	}
	return errors.Join(errs...)
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
