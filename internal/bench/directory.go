package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// directory is what is needed of a server's (RFC 8555 §7.1.1).
type directory struct {
	NewNonce   string `json:"newNonce"`
	NewAccount string `json:"newAccount"`
	NewOrder   string `json:"newOrder"`
}

// usualPaths are where servers have their directory: Chancery, Boulder, Pebble,
// and step-ca with a provisioner called acme.
func usualPaths() []string {
	return []string{"/acme/directory", "/directory", "/dir", "/acme/acme/directory"}
}

// findDirectory reads the directory at the server's URL or, when there is
// none, at a usual place below it.
func (c *client) findDirectory(ctx context.Context) error {
	server, err := url.Parse(c.Server)
	if err != nil {
		return fmt.Errorf("the server is no URL: %w", err)
	}
	if server.Host == "" || server.Scheme != "https" && server.Scheme != "http" {
		return fmt.Errorf("the server %q is no URL that begins with https://", c.Server)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	base := strings.TrimSuffix(c.Server, "/")
	for _, path := range append([]string{""}, usualPaths()...) {
		found, err := c.readDirectory(ctx, base+path)
		if err != nil {
			return fmt.Errorf("couldn't read the directory: %w", err)
		}
		if found.NewNonce != "" && found.NewAccount != "" && found.NewOrder != "" {
			c.load.directory = found
			return nil
		}
	}
	return fmt.Errorf("couldn't find an ACME directory at %s, nor below it at %s", c.Server, strings.Join(usualPaths(), ", "))
}

// readDirectory returns an empty directory when what is there is none.
func (c *client) readDirectory(ctx context.Context, at string) (found directory, err error) {
	got, err := c.send(ctx, http.MethodGet, at, nil)
	if err != nil || got.status != http.StatusOK || json.Unmarshal(got.body, &found) != nil {
		return directory{}, err
	}
	return found, nil
}
