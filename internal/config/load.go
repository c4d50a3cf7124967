// Package config reads the configuration of a CA: chancery.yaml, over it the
// environment, over that the command line's --set. It knows the default, the
// meaning and the source of every setting; it finds all mistakes at once and
// names, for each, the line, the key and the remedy. What Load returns is
// complete and was checked as a whole.
//
// Of other files it reads what provisioners name, to tell of mistakes there. It
// opens no key and no database, resolves no name, and watches no file: who
// wants a new configuration loads it again.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// FileName is the name of the configuration file in the directory of a CA.
const FileName = "chancery.yaml"

// maxFile bounds the configuration file, in bytes; 100,000 rules of policy are 5 MB.
const maxFile = 16 << 20

// LoadOptions say where the configuration comes from.
type LoadOptions struct {
	Dir      string   // the directory of the CA; "" for that of File
	File     string   // the configuration file, which must exist; "" for Dir/chancery.yaml, which need not
	Defaults []string // KEY=VALUE, in the place of what is built in
	Set      []string // KEY=VALUE; the last for a key wins
	Environ  []string // NAME=VALUE as os.Environ has it; only CHANCERY_… is looked at
}

// Load reads the configuration, fills in its defaults and checks it. Mistakes
// come back joined, each as a *Problem.
func Load(o LoadOptions) (*Config, error) {
	file := o.File
	if file == "" {
		file = filepath.Join(o.Dir, FileName)
	} else if o.Dir == "" {
		o.Dir = filepath.Dir(file)
	}
	data, err := readFile(file)
	if err != nil && !(errors.Is(err, fs.ErrNotExist) && o.File == "") {
		return nil, fmt.Errorf("couldn't read the configuration: %w", err)
	}
	return load(o, filepath.Base(file), data)
}

// Reload loads the configuration again from where it came from, for the server
// that was started with c and listens where c says. The error is that of Load,
// and c stays as it is.
func (c *Config) Reload() (*Config, error) {
	next, err := Load(c.options)
	if err == nil {
		next.followListeners(c)
	}
	return next, err
}

// followListeners derives URLs from where the server started with c listens,
// which only a restart changes: URLs must not lead elsewhere before.
func (c *Config) followListeners(started *Config) {
	if c.derivedURL {
		c.ExternalURL = ""
		c.ExternalURL = cmp.Or(c.BaseURL("https", started.Listen), started.ExternalURL)
	}
	if c.derivedHTTP {
		c.HTTPURL = c.PlainURL(started.HTTPListen)
	}
}

// Parse reads a configuration file from memory, with DIR "."; name stands for
// it in errors.
func Parse(name string, data []byte) (*Config, error) {
	return load(LoadOptions{Dir: "."}, name, data)
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	return data, err
}

func load(o LoadOptions, name string, data []byte) (*Config, error) {
	if o.Dir == "" {
		o.Dir = "."
	}
	l := &loader{config: defaults()}
	l.config.Dir, l.config.options = o.Dir, o
	l.lines = strings.Split(string(data), "\n")
	l.applySet(o.Defaults, source{})
	if !l.readYAML(name, data) {
		return nil, l.err()
	}
	l.applyEnviron(o.Environ)
	l.applySet(o.Set, source{kind: fromSet})
	l.fillProfiles()
	l.check()
	if err := l.err(); err != nil {
		return nil, err
	}
	l.config.complete()
	return l.config, nil
}

// loader is one run of Load.
type loader struct {
	config *Config
	problems
}

// complete fills in what follows from other settings.
func (c *Config) complete() {
	if !filepath.IsAbs(c.Store.Path) {
		c.Store.Path = filepath.Join(c.Dir, c.Store.Path)
	}
	if c.Store.PasswordFile != "" && !filepath.IsAbs(c.Store.PasswordFile) {
		c.Store.PasswordFile = filepath.Join(c.Dir, c.Store.PasswordFile)
	}
	if c.derivedHTTP = c.HTTPURL == ""; c.derivedHTTP {
		c.HTTPURL = c.PlainURL(c.HTTPListen)
	}
	if c.derivedURL = c.ExternalURL == ""; c.derivedURL {
		c.ExternalURL = c.BaseURL("https", c.Listen)
	}
}
