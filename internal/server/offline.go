package server

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"chancery/internal/admin"
	"chancery/internal/archive"
	"chancery/internal/ca"
	"chancery/internal/config"
	"chancery/internal/failure"
	"chancery/internal/grant"
	"chancery/internal/hierarchy"
	"chancery/internal/identifier"
	"chancery/internal/observe"
	"chancery/internal/policy"
	"chancery/internal/store"
	"chancery/internal/store/sqlite"
)

// lockWait is how long Connect waits for another command, or for a server that
// is just starting or ending.
const (
	lockWait  = 10 * time.Second
	lockRetry = 50 * time.Millisecond
)

// Connect returns a client of the server that runs on the directory dir. When
// none runs, it takes the directory, and the client works on the store itself:
// then only load is called, for the configuration, and audit gets the trail.
// The client must be closed.
func Connect(ctx context.Context, dir string, load func() (*config.Config, error), audit *slog.Logger) (*admin.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	socket := filepath.Join(dir, socketName)
	for {
		if answers(ctx, socket) {
			return admin.Dial(socket), nil
		}
		c, err := load()
		if err != nil {
			return nil, err
		}
		lock, err := sqlite.LockDir(dir)
		if err == nil {
			return openOffline(context.WithoutCancel(ctx), c, audit, lock.Close)
		}
		if !errors.Is(err, sqlite.ErrLocked) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("couldn't reach the server: it does not answer at %s, and %w", socket, err)
		case <-time.After(lockRetry):
		}
	}
}

// answers reports whether somebody listens on the socket.
func answers(ctx context.Context, path string) bool {
	var dialer net.Dialer
	return admin.WithSocketPath(path, func(short string) error {
		conn, err := dialer.DialContext(ctx, "unix", short)
		if err == nil {
			_ = conn.Close()
		}
		return err
	}) == nil
}

func openOffline(ctx context.Context, c *config.Config, audit *slog.Logger, unlock func() error) (*admin.Client, error) {
	database, err := openDatabase(ctx, c, time.Now)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	judge, err := offlinePolicy(c, database)
	if err != nil {
		return nil, errors.Join(err, database.Close(), unlock())
	}
	handler := admin.New(admin.Deps{
		Store: database,
		Decide: func(ctx context.Context, q policy.Question) (policy.Decision, error) {
			return ca.Decide(ctx, judge, c.Compiled, q)
		},
		Profile:      func(name string) (string, error) { return profileNamed(c, name) },
		Generations:  func() []admin.Generation { return generations(c) },
		Backup:       backupOf(database),
		Files:        func() ([]archive.Source, error) { return archive.Collect(c) },
		Dir:          c.Dir,
		Cluster:      clusterOf(database),
		Status:       func(context.Context) admin.Status { return admin.Status{Reason: "no server runs"} },
		Auditor:      observe.NewAuditor(audit),
		Provisioners: provisionerDeps(func() *config.Config { return c }, nil),
		Now:          time.Now,
	})
	return admin.InProcess(handler, func() error { return errors.Join(database.Close(), unlock()) }), nil
}

// offlinePolicy is the policy that a server with this configuration would have.
func offlinePolicy(c *config.Config, database store.Store) (*policy.Policy, error) {
	chains := map[string][]*x509.Certificate{}
	for _, name := range c.IssuerNames() {
		generations, err := hierarchy.LoadIssuer(c.IssuerFiles(name))
		if err != nil {
			return nil, err
		}
		chains[name] = generations[len(generations)-1].Chain
	}
	judge := &policy.Policy{
		Grants: grant.NewBook(database),
		Constraints: func(profile string, ids []identifier.Identifier) error {
			chain, found := chains[c.Profiles[profile].Issuer]
			if !found {
				chain = chains[hierarchy.DefaultIssuer]
			}
			return hierarchy.Permits(chain, ids)
		},
	}
	judge.SetRules(c.Rules)
	return judge, nil
}

// profileNamed checks the name of a profile; "" is the default one.
func profileNamed(c *config.Config, name string) (string, error) {
	name = cmp.Or(name, c.DefaultProfile)
	if _, found := c.Profiles[name]; !found {
		return "", failure.New(failure.Malformed, "there is no profile %.60q; there is %s", name,
			strings.Join(slices.Sorted(maps.Keys(c.Profiles)), ", "))
	}
	return name, nil
}
