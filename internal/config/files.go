package config

import (
	"cmp"
	"path/filepath"
	"slices"

	"chancery/internal/keys"
)

// File is where the configuration is read from; it may not exist.
func (c *Config) File() string {
	return cmp.Or(c.options.File, filepath.Join(c.Dir, FileName))
}

// NamedFiles are the files in Dir that the store, issuers and provisioners are
// configured with, relative to it, sorted.
func (c *Config) NamedFiles() []string {
	all := []string{c.passwordFile()}
	for _, issuer := range c.Issuers {
		all = append(append(all, issuer.Certificate, issuer.Key, issuer.Root), issuer.Alternates...)
	}
	for _, spec := range c.Provisioners {
		all = append(all, spec.Files()...)
	}
	var names []string
	for _, name := range all {
		if name := c.relative(name); !keys.IsURI(name) && filepath.IsLocal(name) {
			names = append(names, filepath.Clean(name))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// passwordFile is that of the store, relative to Dir; "" for none. The path in
// Store starts from where Dir does.
func (c *Config) passwordFile() string {
	path := c.Store.PasswordFile
	if path == "" || filepath.IsAbs(path) {
		return c.relative(path)
	}
	name, _ := filepath.Rel(c.Dir, path)
	return name
}

// relative is a path relative to Dir, or "" where there is none.
func (c *Config) relative(name string) string {
	if !filepath.IsAbs(name) {
		return name
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return ""
	}
	name, _ = filepath.Rel(dir, name)
	return name
}
