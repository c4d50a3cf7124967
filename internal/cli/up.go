package cli

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"chancery/internal/config"
	"chancery/internal/hierarchy"
	"chancery/internal/server"
)

func newUp(a *app) *cobra.Command {
	var names []string
	var listen string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Create a certificate authority, if there is none, and serve it",
		Long: `Create a certificate authority, if there is none in the directory, and serve it.

It is meant for trying things out on one machine: unlike "serve", it lets
validations reach loopback addresses, unless validation.allow is set.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.set = append(a.set, nameSetting(names)...)
			a.set = append(a.set, listenSetting(listen)...)
			c, err := a.config()
			if err != nil {
				return err
			}
			passphrase, err := a.ensureAuthority(c)
			if err != nil {
				return err
			}
			return a.up(cmd, passphrase)
		},
	}
	cmd.Flags().StringArrayVar(&names, "name", nil, "host name or address of this server, may be repeated; the first is in all URLs")
	cmd.Flags().StringVar(&listen, "listen", "", "HOST:PORT of the HTTPS server")
	return cmd
}

// nameSetting is --name as --set has it.
func nameSetting(names []string) []string {
	if len(names) == 0 {
		return nil
	}
	return []string{"names=" + strings.Join(names, ",")}
}

// ensureAuthority creates a CA if there is none. It returns the path of the
// passphrase that was generated for it.
func (a *app) ensureAuthority(c *config.Config) (passphrase string, err error) {
	_, err = hierarchy.Load(c.Dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	pathLength, _ := neededPathLength(c, hierarchy.DefaultIssuer)
	return a.createAuthority(c, nil, pathLength, passphraseSource{})
}

func (a *app) up(cmd *cobra.Command, passphrase string) error {
	c, err := a.configWithLoopback()
	if err != nil {
		return err
	}
	welcomed := false
	err = a.serve(cmd.Context(), c, service{quiet: true, opened: func(s *server.Server) error {
		welcomed = true
		return a.welcome(s, passphrase)
	}})
	if !welcomed { // a next run doesn't know that the CA is new
		a.tellPassphrase(passphrase)
	}
	return err
}

// loopbackAllowed is what "up" adds to what validations may reach.
const loopbackAllowed = "validation.allow=127.0.0.0/8,::1/128"

// configWithLoopback is the configuration with loopback targets allowed,
// unless somebody has set what is allowed.
func (a *app) configWithLoopback() (*config.Config, error) {
	options := a.loadOptions()
	options.Defaults = []string{loopbackAllowed}
	return config.Load(options)
}
