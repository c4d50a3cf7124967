package config

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"chancery/internal/profile"
	"chancery/internal/provisioner"
)

// place is a part of a Config that has a key: a section, a map, an entry of a
// map, or a value. All that reads and writes a Config without knowing its
// fields goes through places.
type place struct {
	key   string            // "log.level"
	name  string            // the last part of key
	value reflect.Value     // settable
	tag   reflect.StructTag // of the field; an entry of a map has that of the map
	field string            // the field's name in descriptions.txt: "config.Log.Level"; "" for an entry
}

// root is the place of the whole configuration.
func (c *Config) root() place { return place{value: reflect.ValueOf(c).Elem()} }

func (p place) isSection() bool { return isSectionType(p.value.Type()) }

func isSectionType(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[netip.Prefix]() && !isExpressive(t)
}

// isSections reports whether the place is a list of sections. It is a value
// with one text, as in [{name: web, allow: [a.corp]}].
func (p place) isSections() bool {
	return p.value.Kind() == reflect.Slice && isSectionType(p.value.Type().Elem())
}

func (p place) isMap() bool { return p.value.Kind() == reflect.Map }

func (p place) isValue() bool { return !p.isSection() && !p.isMap() }

// children are the fields of a section, in their order, or the entries of a
// map, by name. A value has none.
func (p place) children() []place {
	var children []place
	switch {
	case p.isSection():
		for i := range p.value.NumField() {
			field := p.value.Type().Field(i)
			if name := keyOf(field); name != "" {
				children = append(children, place{
					key: join(p.key, name), name: name, tag: field.Tag,
					value: p.value.Field(i), field: p.value.Type().String() + "." + field.Name,
				})
			}
		}
	case p.isMap():
		names := make([]string, 0, p.value.Len())
		for _, name := range p.value.MapKeys() {
			names = append(names, name.String())
		}
		slices.Sort(names)
		for _, name := range names {
			children = append(children, p.entry(name))
		}
	}
	return children
}

// keyOf is the last part of a field's key, or "" when it has none.
func keyOf(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
	return strings.TrimPrefix(name, "-")
}

// child finds the field of a section by the last part of its key.
func (p place) child(name string) (place, bool) {
	if !p.isSection() {
		return place{}, false
	}
	children := p.children()
	i := slices.IndexFunc(children, func(c place) bool { return c.name == name })
	if i < 0 {
		return place{}, false
	}
	return children[i], true
}

// entry is a copy of the entry of a map, or a new one; put stores it.
func (p place) entry(name string) place {
	entry := place{key: join(p.key, name), name: name, value: reflect.New(p.value.Type().Elem()).Elem(), tag: p.tag}
	if old := p.value.MapIndex(reflect.ValueOf(name)); old.IsValid() {
		entry.value.Set(old)
	}
	return entry
}

func (p place) put(name string, entry place) {
	if p.value.IsNil() {
		p.value.Set(reflect.MakeMap(p.value.Type()))
	}
	p.value.SetMapIndex(reflect.ValueOf(name), entry.value)
}

// walk visits p and all that is in it, sections before what they hold.
func (p place) walk(visit func(place)) {
	visit(p)
	for _, child := range p.children() {
		child.walk(visit)
	}
}

// text is a value as --set takes it.
func (p place) text() string {
	return strings.Join(p.texts(func(_ reflect.Value, text string) string { return text }), ",")
}

// texts are the elements of a list, or the one text of another value, each
// passed through render.
func (p place) texts(render func(reflect.Value, string) string) []string {
	if p.isFlow() {
		return []string{flow(p.value)}
	}
	if p.value.Kind() != reflect.Slice {
		return []string{render(p.value, textOf(p.value))}
	}
	texts := make([]string, p.value.Len())
	for i := range texts {
		texts[i] = render(p.value.Index(i), textOf(p.value.Index(i)))
	}
	return texts
}

// flow is a list as JSON, which is YAML, too.
func flow(list reflect.Value) string {
	if list.Len() == 0 {
		return "[]"
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(list.Interface()); err != nil {
		panic(fmt.Sprintf("a list of %s has no text: %v", list.Type().Elem(), err)) // a mistake in its type
	}
	return strings.TrimSpace(text.String())
}

func textOf(v reflect.Value) string {
	if marshaler, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, err := marshaler.MarshalText()
		if err == nil {
			return string(text)
		}
	}
	if v.Kind() == reflect.Float64 {
		return strconv.FormatFloat(v.Float(), 'f', -1, 64)
	}
	return fmt.Sprint(v.Interface())
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

// defaults returns a Config with nothing set.
func defaults() *Config {
	c := &Config{
		Profiles: profile.Defaults(),
		Issuers:  map[string]Issuer{},

		Provisioners: map[string]provisioner.Spec{},
		Validation: Validation{
			ZoneResolvers: map[string][]string{},
		},
		sources: map[string]source{},
	}
	c.root().walk(func(p place) {
		if text, ok := p.tag.Lookup("default"); ok {
			if err := p.set(text); err != nil {
				panic(fmt.Sprintf("the default of %s: %v", p.key, err)) // a mistake in types.go
			}
		}
	})
	return c
}
