package truststore

import (
	"context"
	"fmt"
	"path/filepath"
)

// profiles are where databases of NSS are below a home directory: Chromium's
// and those of Firefox, also when it came as a snap or a flatpak.
var profiles = []string{
	".pki/nssdb",
	".mozilla/firefox/*",
	"snap/chromium/current/.pki/nssdb",
	"snap/firefox/common/.mozilla/firefox/*",
	".var/app/org.mozilla.firefox/.mozilla/firefox/*",
}

// NSS is all databases of NSS in Home, as one store. The error wraps ErrAbsent
// when there are none, or no certutil.
func (h Host) NSS() (Store, error) {
	var databases []string
	for _, pattern := range profiles {
		found, err := filepath.Glob(filepath.Join(h.Home, pattern, "cert9.db"))
		if err != nil || h.Home == "" {
			continue
		}
		for _, file := range found {
			databases = append(databases, "sql:"+filepath.Dir(file))
		}
	}
	if len(databases) == 0 {
		return nil, fmt.Errorf("the databases of NSS: %w: neither Firefox nor Chromium has been run as this user", ErrAbsent)
	}
	program, err := h.LookPath("certutil")
	if err != nil {
		return nil, fmt.Errorf("the databases of NSS: certutil is missing (Debian: package libnss3-tools, Red Hat: nss-tools), so %d cannot be changed", len(databases))
	}
	return &nss{h, program, databases}, nil
}

type nss struct {
	Host
	program   string
	databases []string
}

func (n *nss) Name() string { return "nss" }

func (n *nss) certutil(ctx context.Context, database string, root *Root, args ...string) error {
	_, err := n.Run(ctx, n.program, append(args, "-d", database, "-n", root.name())...)
	return err
}

func (n *nss) has(ctx context.Context, database string, root *Root) bool {
	return n.certutil(ctx, database, root, "-L") == nil
}

func (n *nss) Install(ctx context.Context, root *Root) (changed bool, err error) {
	err = root.withFile(func(path string) error {
		for _, database := range n.databases {
			if n.has(ctx, database, root) {
				continue
			}
			if err := n.certutil(ctx, database, root, "-A", "-t", "C,,", "-i", path); err != nil {
				return err
			}
			changed = true
		}
		return nil
	})
	return changed, err
}

func (n *nss) Uninstall(ctx context.Context, root *Root) (changed bool, err error) {
	for _, database := range n.databases {
		if !n.has(ctx, database, root) {
			continue
		}
		if err := n.certutil(ctx, database, root, "-D"); err != nil {
			return changed, err
		}
		changed = true
	}
	return changed, nil
}
