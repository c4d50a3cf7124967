package openapi

import (
	"encoding"
	"encoding/json"
	"fmt"
	"path"
	"reflect"
	"strings"
	"time"
)

// schema is the JSON Schema of what encoding/json makes of a type. Structs with
// a name are components; the tag "doc" of a field describes it.
func (b *builder) schema(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[json.RawMessage]() || t.Kind() == reflect.Interface:
		return map[string]any{}
	case t.Kind() == reflect.Pointer:
		return b.schema(t.Elem())
	case implements[encoding.TextMarshaler](t):
		return map[string]any{"type": "string"}
	case implements[json.Marshaler](t):
		return map[string]any{}
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 && t.Kind() == reflect.Slice {
			return map[string]any{"type": "string", "contentEncoding": "base64"}
		}
		return map[string]any{"type": "array", "items": b.schema(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": b.schema(t.Elem())}
	case reflect.Struct:
		return b.structure(t)
	}
	if t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64 {
		return map[string]any{"type": "integer"}
	}
	b.err = fmt.Errorf("couldn't describe the type %s: JSON has none such", t)
	return nil
}

func implements[I any](t reflect.Type) bool {
	i := reflect.TypeFor[I]()
	return t.Implements(i) || reflect.PointerTo(t).Implements(i)
}

// structure is a reference to the schema of a struct with a name, and the
// schema of another.
func (b *builder) structure(t reflect.Type) map[string]any {
	name := componentName(t)
	if name == "" {
		return b.object(t)
	}
	if known := b.types[name]; known != nil && known != t { // another package's
		name = capital(path.Base(t.PkgPath())) + name
	}
	switch known := b.types[name]; known {
	case nil:
		b.types[name] = t
		b.schemas[name] = b.object(t)
	case t:
	default:
		b.err = fmt.Errorf("couldn't describe %s: %s has the same name", t, known)
	}
	return map[string]any{"$ref": "#/components/schemas/" + name}
}

// componentName is the type's name without its package, except for what would
// be unclear: page[certificate] is pageCertificate.
func componentName(t reflect.Type) string {
	name, argument, generic := strings.Cut(t.Name(), "[")
	if !generic {
		return name
	}
	argument = strings.TrimSuffix(argument, "]")
	argument = argument[strings.LastIndexAny(argument, "./")+1:]
	return name + capital(argument)
}

func capital(word string) string { return strings.ToUpper(word[:1]) + word[1:] }

func (b *builder) object(t reflect.Type) map[string]any {
	properties, required := map[string]any{}, []string{}
	b.members(t, properties, &required)
	object := map[string]any{"type": "object", "properties": properties}
	if len(required) > 0 {
		object["required"] = required
	}
	return object
}

func (b *builder) members(t reflect.Type, properties map[string]any, required *[]string) {
	for i := range t.NumField() {
		field := t.Field(i)
		if field.Anonymous && field.Tag.Get("json") == "" {
			embedded := field.Type
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			b.members(embedded, properties, required)
			continue
		}
		name, optional, ok := member(field)
		if !ok {
			continue
		}
		schema := b.schema(field.Type)
		if doc := field.Tag.Get("doc"); doc != "" && schema != nil {
			schema["description"] = doc
		}
		properties[name] = schema
		if !optional {
			*required = append(*required, name)
		}
	}
}

// member is how encoding/json names a field.
func member(field reflect.StructField) (name string, optional, ok bool) {
	tag := field.Tag.Get("json")
	name, options, _ := strings.Cut(tag, ",")
	if !field.IsExported() || tag == "-" {
		return "", false, false
	}
	if name == "" {
		name = field.Name
	}
	return name, strings.Contains(options, "omit"), true
}
