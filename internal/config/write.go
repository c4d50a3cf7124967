package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Write creates the configuration file path with what set says, as --set takes
// it, and every other key as a comment with its default. The error wraps
// fs.ErrExist when there is such a file, which is left alone; mistakes in set
// come back as from Load.
func Write(path string, set []string) error {
	text, err := render(filepath.Dir(path), set)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // there are no secrets in it
	if err != nil {
		return fmt.Errorf("couldn't create the configuration: %w", err)
	}
	_, err = file.WriteString(text)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(fmt.Errorf("couldn't write the configuration: %w", err), os.Remove(path))
	}
	return nil
}

func render(dir string, set []string) (string, error) {
	if _, err := load(LoadOptions{Dir: dir, Set: set}, FileName, nil); err != nil {
		return "", err
	}
	l := &loader{config: defaults()} // not completed, so that paths stay relative and URLs follow the listeners
	l.applySet(set, source{kind: fromSet})
	l.fillProfiles()
	w := writer{config: l.config, descriptions: descriptions()}
	w.text.WriteString(header)
	for _, p := range l.config.root().children() {
		w.write(p, "")
	}
	return w.text.String(), nil
}

const header = `# The configuration of this certificate authority. Keys that are commented out
# have the value that is shown. "chancery config check" tells of mistakes,
# "chancery config show" lists what is in force, and a running server takes
# changes over with "chancery reload".
`

// writer writes a configuration file.
type writer struct {
	config       *Config
	descriptions map[string]string // of what was not written yet
	text         strings.Builder
}

func (w *writer) write(p place, indent string) {
	if w.isNoise(p) {
		return
	}
	w.describe(p, indent)
	if !p.isValue() {
		fmt.Fprintf(&w.text, "%s%s:\n", indent, yamlString(p.name))
		for _, child := range p.children() {
			w.write(child, indent+"  ")
		}
		return
	}
	if w.config.sources[p.key].kind == fromDefault {
		indent += "# "
	}
	fmt.Fprintf(&w.text, "%s%s: %s\n", indent, yamlString(p.name), yamlText(p))
}

// isNoise reports whether a key of a profile is empty in it, and not in the
// first one, which shows all there are.
func (w *writer) isNoise(p place) bool {
	first := slices.Min(slices.Collect(maps.Keys(w.config.Profiles)))
	if !strings.HasPrefix(p.field, "profile.") || strings.HasPrefix(p.key, "profiles."+first+".") {
		return false
	}
	noise := true
	p.walk(func(p place) {
		if p.isValue() && (!p.value.IsZero() || w.config.sources[p.key].kind != fromDefault) {
			noise = false
		}
	})
	return noise
}

// describe writes what a key means, once: profiles share their keys.
func (w *writer) describe(p place, indent string) {
	text := w.descriptions[p.field]
	delete(w.descriptions, p.field)
	if text == "" {
		return
	}
	if !strings.HasSuffix(w.text.String(), ":\n") {
		w.text.WriteByte('\n')
	}
	const width = 80
	line := indent + "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > width {
			w.text.WriteString(line + "\n")
			line = indent + "#"
		}
		line += " " + word
	}
	w.text.WriteString(line + "\n")
}

// yamlText is a value as YAML.
func yamlText(p place) string {
	if p.isFlow() {
		return flow(p.value)
	}
	texts := p.texts(func(v reflect.Value, text string) string {
		if v.Kind() == reflect.String || v.Type() == reflect.TypeFor[netip.Prefix]() {
			return yamlString(text)
		}
		return text
	})
	if p.value.Kind() == reflect.Slice {
		return "[" + strings.Join(texts, ", ") + "]"
	}
	return texts[0]
}

// yamlString is a text as YAML: bare when that can be read as nothing else, in
// quotes otherwise. Go's quotes are YAML's, for texts without control
// characters.
func yamlString(text string) string {
	file, err := parseYAML(text)
	if bareText.MatchString(text) && err == nil && len(file.Docs) == 1 {
		if node := file.Docs[0].Body; node != nil && node.Type() == ast.StringType {
			return text
		}
	}
	return strconv.Quote(text)
}

var bareText = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._/-]*$`)
