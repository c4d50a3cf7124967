package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"chancery/internal/admin"
	"chancery/internal/config"
	"chancery/internal/hierarchy"
	"chancery/internal/observe"
	"chancery/internal/server"
)

// withClient runs use with a client of the running server or, when none runs,
// of the store. A server is reached even if the configuration is broken by now;
// what --set says must be right in any case.
func (a *app) withClient(ctx context.Context, use func(*admin.Client) error) (err error) {
	if len(a.set) > 0 {
		if _, err := a.config(); err != nil {
			return err
		}
	}
	audit, err := observe.NewLogger(a.Err, "text", slog.LevelInfo)
	if err != nil {
		return err
	}
	client, err := server.Connect(ctx, a.directory(), a.offlineConfig, audit)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	return use(client)
}

// offlineConfig is the configuration of a CA that exists.
func (a *app) offlineConfig() (*config.Config, error) {
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	return c, checkAuthority(c)
}

// checkAuthority reports whether there is a certificate authority in the
// directory of c, so that commands don't make files in a wrong one.
func checkAuthority(c *config.Config) error {
	_, err := os.Stat(filepath.Join(c.Dir, hierarchy.IntermediateFile))
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err = hierarchy.Load(c.Dir); errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("there is no certificate authority in %s", c.Dir),
			"name its directory with --dir, or create one with \"chancery init --dir %s\"", c.Dir)
	}
	return err
}

func (a *app) logFormat(c *config.Config) string {
	switch {
	case c.Log.Format != "auto":
		return c.Log.Format
	case isTerminal(a.Err):
		return "text"
	default:
		return "json"
	}
}
