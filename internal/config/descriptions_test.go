package config

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write descriptions.txt anew from the comments in the source")

// TestDescriptions keeps descriptions.txt equal to the comments in the source:
// go test ./internal/config -run Descriptions -update
func TestDescriptions(t *testing.T) {
	text := fieldCommentsOf(t, "config", "types.go") + fieldCommentsOf(t, "profile", "../profile/spec.go") +
		fieldCommentsOf(t, "provisioner", "../provisioner/spec.go")
	if *update {
		if err := os.WriteFile("descriptions.txt", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text != fieldComments {
		t.Error("descriptions.txt differs from the comments in the source; run this test with -update")
	}
	known := descriptions()
	defaults().root().walk(func(p place) {
		if p.field != "" && known[p.field] == "" {
			t.Errorf("%s (%s) has no comment", p.key, p.field)
		}
	})
}

// fieldCommentsOf lists the comments of all struct fields that have a key.
func fieldCommentsOf(t *testing.T, pkg, path string) string {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if fields, ok := spec.Type.(*ast.StructType); ok {
			for _, field := range fields.Fields.List {
				comment := strings.Join(strings.Fields(field.Doc.Text()), " ")
				if field.Tag != nil && !strings.Contains(field.Tag.Value, `yaml:"-"`) {
					lines = append(lines, pkg+"."+spec.Name.Name+"."+field.Names[0].Name+"\t"+comment+"\n")
				}
			}
		}
		return false
	})
	slices.Sort(lines)
	return strings.Join(lines, "")
}
