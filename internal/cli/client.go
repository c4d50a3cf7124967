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
// of the store.
func (a *app) withClient(ctx context.Context, use func(*admin.Client) error) (err error) {
	c, err := a.config()
	if err != nil {
		return err
	}
	client, err := a.connect(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	return use(client)
}

func (a *app) connect(ctx context.Context, c *config.Config) (*admin.Client, error) {
	if err := checkAuthority(c); err != nil {
		return nil, err
	}
	log, err := observe.NewLogger(a.Err, a.logFormat(c), slog.LevelInfo)
	if err != nil {
		return nil, err
	}
	return server.Connect(ctx, c, log)
}

// checkAuthority reports whether there is a certificate authority in the
// directory of c, so that commands don't make files in a wrong one.
func checkAuthority(c *config.Config) error {
	_, err := os.Stat(filepath.Join(c.Dir, hierarchy.IntermediateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("there is no certificate authority in %s: %w", c.Dir, err),
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
