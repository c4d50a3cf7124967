package profile_test

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"chancery/internal/config"
	"chancery/internal/expr"
	"chancery/internal/lint"
	"chancery/internal/profile"
)

const docs = "../../docs/profiles.md"

// The documentation names every field, variable and type of value there is.
func TestDocsAreComplete(t *testing.T) {
	text := readDocs(t)
	for _, field := range fieldsOf(reflect.TypeFor[profile.Spec](), "") {
		last := field[strings.LastIndex(field, ".")+1:]
		if !strings.Contains(text, "`"+field+"`") && !(strings.HasPrefix(field, "name_constraints.") && strings.Contains(text, "`."+last+"`")) {
			t.Errorf("the field %s is missing", field)
		}
	}
	for _, field := range fieldsOf(reflect.TypeFor[profile.Typed](), "") {
		if !strings.Contains(text, "`"+field+"`") {
			t.Errorf("the type of values %s is missing", field)
		}
	}
	for _, v := range expr.Variables() {
		typ := strings.TrimPrefix(v.Type, "google.protobuf.")
		if row := "| `" + v.Name + "` | " + strings.ToLower(typ) + " | " + v.Doc + " |"; !strings.Contains(text, row) {
			t.Errorf("the variable is missing: %s", row)
		}
	}
	for _, record := range expr.Records() {
		row := regexp.MustCompile("(?m)^\\| `" + record + "` \\| `.*$").FindString(text)
		for field := range expr.Fields(record) {
			if !strings.Contains(row, "`"+field+"`") {
				t.Errorf("the field %s.%s is missing", record, field)
			}
		}
	}
}

// fieldsOf are the keys of a section and of the sections in it.
func fieldsOf(t reflect.Type, prefix string) (fields []string) {
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if t.Field(i).Type.Kind() == reflect.Struct {
			fields = append(fields, fieldsOf(t.Field(i).Type, prefix+name+".")...)
			continue
		}
		fields = append(fields, prefix+name)
	}
	return fields
}

// The examples load, and what they make passes the lints.
func TestDocsExamples(t *testing.T) {
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readDocs(t), -1)
	if len(examples) < 4 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, example := range examples {
		c, err := config.Parse("docs/profiles.md", []byte(example[1]))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, p := range c.Compiled {
			if warnings, err := lint.New().Profile(p, newAuthority(t).issuer, now); err != nil || len(warnings) > 0 {
				t.Errorf("%s: %v, %v", p.Name, warnings, err)
			}
		}
	}
}

// What YAML and JSON make of a profile is the same profile again.
func TestSpecsRoundTrip(t *testing.T) {
	for name, p := range compileAll(t, profiles) {
		text, err := yaml.Marshal(map[string]any{"profiles": map[string]profile.Spec{name: p.Spec}})
		if err != nil {
			t.Fatal(err)
		}
		again := compileAll(t, string(text))[name].Spec
		encoded, err := json.Marshal(p.Spec)
		if err != nil {
			t.Fatal(err)
		}
		var decoded profile.Spec
		if err := json.Unmarshal(encoded, &decoded); err != nil || !reflect.DeepEqual(decoded, p.Spec) || !reflect.DeepEqual(again, p.Spec) {
			t.Errorf("%s: %v\nYAML %+v\nJSON %+v\nwant %+v", name, err, again, decoded, p.Spec)
		}
	}
}

func readDocs(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
