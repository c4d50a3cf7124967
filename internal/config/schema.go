package config

import (
	_ "embed" // descriptions.txt
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"

	"chancery/internal/duration"
)

// fieldComments has a line FIELD, tab, COMMENT for each field of the
// configuration; TestDescriptions writes it from the comments in the source.
//
//go:embed descriptions.txt
var fieldComments string

func descriptions() map[string]string {
	texts := map[string]string{}
	for line := range strings.Lines(fieldComments) {
		field, text, _ := strings.Cut(strings.TrimSpace(line), "\t")
		texts[field] = text
	}
	return texts
}

// Schema is the JSON Schema (draft 2020-12) of the configuration file, for
// editors. It knows the keys, their types, bounds and defaults; Load knows
// more.
func Schema() ([]byte, error) {
	b := schemaBuilder{descriptions()}
	schema := b.build(defaults().root())
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "The configuration of a Chancery certificate authority"
	text, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("couldn't write the schema: %w", err)
	}
	return append(text, '\n'), nil
}

type schemaBuilder struct {
	descriptions map[string]string
}

// build is the schema of one place.
func (b schemaBuilder) build(p place) map[string]any {
	var schema map[string]any
	if p.value.Kind() == reflect.Pointer {
		p.value = reflect.New(p.value.Type().Elem()).Elem()
	}
	switch {
	case p.isSection():
		properties := map[string]any{}
		for _, child := range p.children() {
			properties[child.name] = b.build(child)
		}
		schema = map[string]any{"type": []string{"object", "null"}, "properties": properties, "additionalProperties": false}
		if p.key == storeKey {
			schema["type"] = []string{"object", "null", "string"}
		}
	case p.isMap():
		schema = map[string]any{"type": []string{"object", "null"}, "additionalProperties": b.build(p.entry(""))}
	case p.isSections():
		items := map[string]any{} // values in values are left open at the third turn
		if strings.Count(p.key, "[]") < 3 {
			items = b.build(place{key: p.key + "[]", value: reflect.New(p.value.Type().Elem()).Elem()})
		}
		schema = map[string]any{"type": "array", "items": items}
	case p.isExpressions():
		one := expressionSchema(p.value.Type().Elem())
		schema = map[string]any{"anyOf": []any{one, map[string]any{"type": "array", "items": one}}}
	case isExpressive(p.value.Type()):
		schema = expressionSchema(p.value.Type())
	case p.value.Kind() == reflect.Slice:
		schema = map[string]any{"type": "array", "items": scalarSchema(p, p.value.Type().Elem())}
	default:
		schema = scalarSchema(p, p.value.Type())
	}
	if text, ok := b.descriptions[p.field]; ok {
		schema["description"] = text
	}
	if _, ok := p.tag.Lookup("default"); ok && p.isValue() {
		schema["default"] = p.value.Interface()
	}
	return schema
}

// scalarSchema is the schema of a single value of type t, with the bounds that
// the tags of p set.
func scalarSchema(p place, t reflect.Type) map[string]any {
	schema := map[string]any{"type": "string"}
	switch {
	case t == reflect.TypeFor[duration.Duration]():
		// The only number is 0, which needs no unit.
		return map[string]any{"type": []string{"string", "integer"}, "pattern": durationPattern, "minimum": 0, "maximum": 0}
	case t == reflect.TypeFor[netip.Prefix]():
		return schema
	case t.Kind() == reflect.Bool:
		schema["type"] = "boolean"
	case t.Kind() == reflect.Int:
		schema["type"] = "integer"
	case t.Kind() == reflect.Float64:
		schema["type"] = "number"
	}
	for tag, keyword := range map[string]string{"min": "minimum", "max": "maximum"} {
		if bound := p.tag.Get(tag); bound != "" {
			schema[keyword] = json.Number(bound)
		}
	}
	if enum := p.tag.Get("enum"); enum != "" {
		schema["enum"] = strings.Split(enum, ",")
	}
	return schema
}

const durationPattern = `^([0-9.]+(w|d|h|m|s|ms|us|µs|ns))+$|^0$`
