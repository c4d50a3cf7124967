package postgres

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
)

// statements are the package's constants that hold SQL, by name.
func statements(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	constants := map[string]ast.Expr{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Names) == len(spec.Values) {
				for i, ident := range spec.Names {
					constants[ident.Name] = spec.Values[i]
				}
			}
			return true
		})
	}
	found := map[string]string{}
	for name := range constants {
		if sql := text(constants, constants[name]); sqlVerb.MatchString(sql) && !fragment.MatchString(name) {
			found[name] = sql
		}
	}
	return found
}

var (
	sqlVerb  = regexp.MustCompile(`^(SELECT|INSERT|UPDATE|DELETE|WITH) `)
	fragment = regexp.MustCompile(`^(changing|sums|parent|partsOf|countEntered|upsertService|.*Begin)$`) // parts of others
)

// text evaluates a constant string made of literals, constants and +.
func text(constants map[string]ast.Expr, expr ast.Expr) string {
	switch expr := expr.(type) {
	case *ast.BasicLit:
		value, _ := strconv.Unquote(expr.Value)
		return value
	case *ast.Ident:
		return text(constants, constants[expr.Name])
	case *ast.BinaryExpr:
		return text(constants, expr.X) + text(constants, expr.Y)
	default:
		return ""
	}
}

// TestStatements has the server prepare every statement.
func TestStatements(t *testing.T) {
	t.Parallel()
	url := theServer(t).Database(t)
	_ = openAt(t, Options{URL: url}).Close()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(t.Context()) }()
	all := statements(t)
	if len(all) < 60 {
		t.Fatalf("only %d statements were found: the search is broken", len(all))
	}
	for name, sql := range all {
		if _, err := c.Prepare(t.Context(), name, sql); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
