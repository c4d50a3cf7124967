package sqlite

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"chancery/internal/store"
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
		if sql := text(constants, constants[name]); sqlVerb.MatchString(sql) {
			found[name] = sql
		}
	}
	return found
}

var sqlVerb = regexp.MustCompile(`^(SELECT|INSERT|UPDATE|DELETE|VACUUM) `)

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

// scans are the statements that may read a whole table, for it is small.
var scans = []string{
	"selectBindings", "selectIssuers", "selectProvisioners", "selectIncidents", "selectAdminTokens", // as many as an operator makes
	"selectIntents",                                                                                                            // as many as are being signed
	"updatePing", "selectBackfill", "updateBackfill", "deleteBackfill", "selectIndexed", "updateIndexed", "updateIndexedAtEnd", // one row
	"countTerm", "selectSearched", // an index of another kind
}

func TestStatements(t *testing.T) {
	s := openTest(t)
	all := statements(t)
	if len(all) < 40 {
		t.Fatalf("only %d statements were found: the search is broken", len(all))
	}
	for name, sql := range all {
		stmt, tail, err := s.writer.conn.Prepare(sql)
		if err != nil || tail != "" {
			t.Errorf("%s: %v, rest %q", name, err, tail)
			continue
		}
		if err := stmt.Close(); err != nil {
			t.Error(err)
		}
		for _, line := range plan(t, s.writer.conn, sql) {
			if !slices.Contains(scans, name) && (strings.HasPrefix(line, "SCAN") || strings.Contains(line, "TEMP B-TREE")) && !strings.HasPrefix(line, "SCAN CONSTANT") && !strings.HasSuffix(line, "VALUES CLAUSE") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

// plan is what SQLite says about how it runs a statement.
func plan(t *testing.T, c *conn, sql string, args ...any) (lines []string) {
	t.Helper()
	if strings.HasPrefix(sql, "VACUUM") {
		return nil
	}
	err := c.once(func(r *row) {
		r.next()
		r.next()
		r.next()
		lines = append(lines, r.text())
	}, "EXPLAIN QUERY PLAN "+sql, args...)
	if err != nil {
		t.Errorf("%s: %v", sql, err)
	}
	return lines
}

// TestListingPlans checks that each question finds its certificates by an
// index, and that all others walk the key, newest first, without sorting.
func TestListingPlans(t *testing.T) {
	c := openTest(t).writer.conn
	now, key := time.Now(), store.CertificateKey{}
	const bySerial = "SEARCH c USING INDEX sqlite_autoindex_certificates_1 (serial=?)"
	for _, test := range []struct {
		query store.CertificateQuery
		want  string // of the most selective index; "" for none
		sorts bool
	}{
		{store.CertificateQuery{}, "SCAN c USING COVERING INDEX sqlite_autoindex_certificates_1", false},
		{store.CertificateQuery{Before: &key}, "SEARCH c USING COVERING INDEX sqlite_autoindex_certificates_1 ((serial,issuer_id)<(?,?))", false},
	} {
		l, err := certificateListing(c, &test.query)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = l, bySerial
		_ = now
	}
}
