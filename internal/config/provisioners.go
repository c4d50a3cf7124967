package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"chancery/internal/provisioner"
)

// checkProvisioners finds the mistakes in provisioners. The server makes them
// anew, for its own URLs.
func (l *loader) checkProvisioners() {
	c := l.config
	for _, name := range slices.Sorted(maps.Keys(c.Provisioners)) {
		key, spec := "provisioners."+name, c.Provisioners[name]
		if _, err := provisioner.Compile(name, spec, c.ProvisionerDeps()); err != nil {
			l.addProvisionerMistakes(key, err)
		}
		for i, profile := range spec.Profiles {
			if _, ok := c.Profiles[profile]; !ok {
				l.mistake(fmt.Sprintf("%s.profiles[%d]", key, i), "there is no profile %q; write %s", profile,
					oneOf(slices.Sorted(maps.Keys(c.Profiles))))
			}
		}
	}
}

// ProvisionerDeps are what provisioners of this configuration are made of, but
// for what only a server has: Audiences.
func (c *Config) ProvisionerDeps() provisioner.Deps {
	return provisioner.Deps{Now: time.Now, Client: provisioner.NewClient, Dir: c.Dir, Audiences: func() []string { return nil }}
}

// addProvisionerMistakes takes apart what provisioner.Compile has joined.
func (l *loader) addProvisionerMistakes(key string, err error) {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, err := range joined.Unwrap() {
			l.addProvisionerMistakes(key, err)
		}
		return
	}
	mistake, ok := errors.AsType[*provisioner.FieldError](err)
	switch {
	case errors.Is(err, fs.ErrNotExist): // yet: a server needs it, and says so
		l.warn(join(key, mistake.Field), "%s", mistake.Problem)
		return
	case ok:
		l.mistake(strings.TrimSuffix(join(key, mistake.Field), "."), "%s", mistake.Problem)
		return
	}
	l.mistake(key, "%v", err)
}
