package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"chancery/internal/profile"
)

func newProfile(a *app) *cobra.Command {
	return newGroup("profile", "Show profiles and try them", newProfileList(a), newProfileShow(a), newProfileTry(a))
}

// profileView is a profile as scripts see it.
type profileView struct {
	Name string `json:"name"`
	profile.Spec
}

func newProfileList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the profiles there are",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			views := func(yield func(profileView, error) bool) {
				for _, name := range slices.Sorted(maps.Keys(c.Profiles)) {
					if !yield(profileView{name, c.Profiles[name]}, nil) {
						return
					}
				}
			}
			if asJSON {
				return printArray(a.Out, views)
			}
			return printTable(a.Out, a.Err, "NAME VALIDITY NAMES FOR DESCRIPTION", views, func(v profileView) []string {
				purposes := strings.Join(v.ExtendedKeyUsages, " ")
				if v.BasicConstraints.CA {
					purposes = strings.TrimSpace("CA " + purposes)
				}
				return []string{v.Name, v.Validity.Default.String(), strings.Join(v.SAN.Types, " "), purposes, v.Description}
			})
		},
	}
	a.addFileFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func newProfileShow(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show PROFILE",
		Short: "Show all settings of a profile, as chancery.yaml would have them",
		Args:  args(1, "PROFILE"),
		RunE: func(_ *cobra.Command, given []string) error {
			p, err := a.profile(given[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.Out, profileView{p.Name, p.Spec})
			}
			text, err := yaml.MarshalWithOptions(map[string]any{"profiles": map[string]profile.Spec{p.Name: p.Spec}}, yaml.IndentSequence(true))
			if err != nil {
				return fmt.Errorf("couldn't write the profile: %w", err)
			}
			_, err = a.Out.Write(text)
			return err
		},
	}
	a.addFileFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// profile finds one profile in the configuration.
func (a *app) profile(name string) (*profile.Profile, error) {
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	if found := c.Compiled[name]; found != nil {
		return found, nil
	}
	return nil, withHint(fmt.Errorf("there is no profile %q", name), "there are %s", strings.Join(slices.Sorted(maps.Keys(c.Compiled)), ", "))
}
