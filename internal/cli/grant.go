package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/admin"
)

// grantFlags are the flags for what a key grants.
type grantFlags struct {
	allow, deny, preauthorize []string
	profiles, labels          []string
	maxAccounts               int
	maxRate                   string
}

func (f *grantFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.allow, "allow", nil, "names its accounts can have, and then no others; can be repeated")
	flags.StringArrayVar(&f.deny, "deny", nil, "names they can't have, whatever allows them; can be repeated")
	flags.StringArrayVar(&f.preauthorize, "preauthorize", nil, "names that need no proof, as far as they are allowed; can be repeated")
	flags.StringSliceVar(&f.profiles, "profiles", nil, "the only profiles they can use; also those that are restricted")
	flags.StringArrayVar(&f.labels, "label", nil, "a fact for profiles to use, as in team=a; can be repeated")
	flags.IntVar(&f.maxAccounts, "max-accounts", 0, "how many valid accounts it can have; 0 for any number")
	flags.StringVar(&f.maxRate, "max-rate", "", "how many orders, all its accounts together, as in 1000/h; off for any number")
}

func (f *grantFlags) grant() (admin.Grant, error) {
	labels, err := parseLabels(f.labels)
	return admin.Grant{
		Allow: f.allow, Deny: f.deny, Preauthorize: f.preauthorize, Profiles: f.profiles,
		Labels: labels, MaxAccounts: f.maxAccounts, MaxRate: f.maxRate,
	}, err
}

func parseLabels(texts []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, text := range texts {
		name, value, found := strings.Cut(text, "=")
		if text == "" {
			continue
		}
		if !found || name == "" {
			return nil, usagef("%q is no label; write it like team=a", text)
		}
		labels[name] = value
	}
	return labels, nil
}

// change is what the flags that were given change.
func (f *grantFlags) change(cmd *cobra.Command) (change admin.BindingChange, err error) {
	given := func(name string) bool { return cmd.Flags().Changed(name) }
	list := func(name string, texts []string) *[]string {
		if !given(name) {
			return nil
		}
		texts = slices.DeleteFunc(texts, func(text string) bool { return text == "" }) // --allow "" is none
		return &texts
	}
	change.Allow, change.Deny = list("allow", f.allow), list("deny", f.deny)
	change.Preauthorize, change.Profiles = list("preauthorize", f.preauthorize), list("profiles", f.profiles)
	if given("label") {
		labels, labelErr := parseLabels(f.labels)
		change.Labels, err = &labels, labelErr
	}
	if given("max-accounts") {
		change.MaxAccounts = &f.maxAccounts
	}
	if given("max-rate") {
		change.MaxRate = &f.maxRate
	}
	return change, err
}

func newEABUpdate(a *app) *cobra.Command {
	var flags grantFlags
	var name, expires string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "update KID",
		Short: "Change a key and what it grants, at once for all its accounts",
		Long: `Change a key and what it grants, at once for all its accounts.

What is given replaces what was there: --allow all the names that were allowed
before, --label all labels. An empty value, as in --deny "", takes them away.`,
		Args: args(1, "KID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			change, err := flags.change(cmd)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("name") {
				change.Name = &name
			}
			if cmd.Flags().Changed("expires") {
				change.Expires = new(time.Time)
				if expires != "never" {
					if *change.Expires, err = parseTime(expires, time.Now()); err != nil {
						return err
					}
				}
			}
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				changed, err := c.UpdateBinding(cmd.Context(), given[0], change)
				if err != nil {
					return err
				}
				return a.printBinding(changed, asJSON)
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "a name for people")
	cmd.Flags().StringVar(&expires, "expires", "", "when it ends: a date, an RFC 3339 time, a duration such as 30d, or never")
	flags.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newEABShow(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show KID",
		Short: "Show a key and what it grants, without its secret",
		Args:  args(1, "KID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				found, err := c.Binding(cmd.Context(), given[0])
				if err != nil {
					return err
				}
				return a.printBinding(found, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) printBinding(b admin.Binding, asJSON bool) error {
	if asJSON {
		return printJSON(a.Out, b)
	}
	facts := []string{"kid", b.KID, "status", b.Status, "created", when(b.Created), "revoked", whenSet(b.RevokedAt), "uses", strconv.Itoa(b.Uses)}
	return printFields(a.Out, append(facts, bindingFields(b)...)...)
}

// bindingFields are a key's name and what it grants, for printFields.
func bindingFields(b admin.Binding) []string {
	labels := make([]string, 0, len(b.Labels))
	for _, name := range slices.Sorted(maps.Keys(b.Labels)) {
		labels = append(labels, name+"="+b.Labels[name])
	}
	accounts := ""
	if b.MaxAccounts > 0 {
		accounts = fmt.Sprint(b.MaxAccounts)
	}
	return []string{
		"name", b.Name, "expires", whenSet(b.Expires), "allow", strings.Join(b.Allow, " "), "deny", strings.Join(b.Deny, " "),
		"preauthorize", strings.Join(b.Preauthorize, " "), "profiles", strings.Join(b.Profiles, " "),
		"labels", strings.Join(labels, " "), "max-accounts", accounts, "max-rate", b.MaxRate,
	}
}
