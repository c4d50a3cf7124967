package config

import (
	"maps"
	"slices"
)

// Setting is one value of the configuration.
type Setting struct {
	Key     string `json:"key"`
	Value   string `json:"value"`   // as --set takes it
	Source  string `json:"source"`  // "default", "chancery.yaml:12", "environment CHANCERY_LISTEN" or "--set"
	Restart bool   `json:"restart"` // a change takes effect when the server is started again
}

// Settings lists all that is configured, in the order of the file.
func (c *Config) Settings() []Setting {
	var settings []Setting
	c.root().walk(func(p place) {
		if p.isValue() {
			settings = append(settings, Setting{p.key, p.text(), c.sources[p.key].String(), p.tag.Get("restart") != ""})
		}
	})
	return settings
}

// Place says where a key was set, or the section that it is in:
// "chancery.yaml:12", "--set", "default".
func (c *Config) Place(key string) string { return c.at(key).String() }

// Change is a setting that differs between two configurations.
type Change struct {
	Key, Old, New string // "" for what one of them does not have
	Restart       bool   // it takes effect when the server is started again
}

// Changes lists what is different in next, by key.
func (c *Config) Changes(next *Config) []Change {
	before, after := c.byKey(), next.byKey()
	all := maps.Clone(before)
	maps.Copy(all, after)
	var changes []Change
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if before[key].Value != after[key].Value {
			changes = append(changes, Change{key, before[key].Value, after[key].Value, all[key].Restart})
		}
	}
	return changes
}

func (c *Config) byKey() map[string]Setting {
	settings := map[string]Setting{}
	for _, setting := range c.Settings() {
		settings[setting.Key] = setting
	}
	return settings
}
