package config

import (
	"cmp"
	"maps"
	"regexp"
	"slices"

	"chancery/internal/hierarchy"
)

// IssuerNames are the issuers that there are, sorted; the default is one.
func (c *Config) IssuerNames() []string {
	names := slices.Collect(maps.Keys(c.Issuers))
	if _, ok := c.Issuers[hierarchy.DefaultIssuer]; !ok {
		names = append(names, hierarchy.DefaultIssuer)
	}
	slices.Sort(names)
	return names
}

// IssuerFiles says where the files of an issuer are.
func (c *Config) IssuerFiles(name string) hierarchy.IssuerFiles {
	issuer := c.Issuers[name]
	files := hierarchy.IssuerFiles{
		Dir: c.Dir, Name: name, Certificate: issuer.Certificate, Key: issuer.Key,
		Root: issuer.Root, Alternates: issuer.Alternates,
	}
	if name == hierarchy.DefaultIssuer {
		files.Certificate = cmp.Or(files.Certificate, hierarchy.IntermediateFile)
		files.Key = cmp.Or(files.Key, hierarchy.KeyFile)
	}
	return files
}

// issuerName keeps names to what is no path, for directories are named so.
var issuerName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

func (l *loader) checkIssuers() {
	for name, issuer := range l.config.Issuers {
		key := "issuers." + name
		switch {
		case !issuerName.MatchString(name):
			l.mistake(key, "an issuer's name has at most 64 small letters, digits, hyphens and underscores, and begins with a letter or digit")
		case name == hierarchy.DefaultIssuer:
		case issuer.Certificate != "" && issuer.Key == "":
			l.mistake(key+".certificate", "its key is missing; set %s.key", key)
		case issuer.Key != "" && issuer.Certificate == "":
			l.mistake(key+".key", "its certificate is missing; set %s.certificate", key)
		}
	}
}
