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

	"chancery/internal/serial"
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
	"selectBindings", "selectIssuers", // as many as an operator makes
	"selectIntents", // as many as are being signed
	"updatePing",    // one row
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
			if !slices.Contains(scans, name) && (strings.HasPrefix(line, "SCAN") || strings.Contains(line, "TEMP B-TREE")) && !strings.HasPrefix(line, "SCAN CONSTANT") {
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

// TestListingPlans checks that each question that selects few certificates
// finds them by an index, and that all others walk the key, newest first,
// without sorting.
func TestListingPlans(t *testing.T) {
	c := openTest(t).writer.conn
	now := time.Now()
	for want, query := range map[string]store.CertificateQuery{
		"SCAN c USING INDEX sqlite_autoindex_certificates_1":                              {},
		"SCAN c USING INDEX sqlite_autoindex_certificates_1 ":                             {Status: store.CertificateGood, Now: now},
		"SEARCH c USING INDEX sqlite_autoindex_certificates_1 ((serial,issuer_id)<(?,?))": {Before: &store.CertificateKey{}},
		"SEARCH c USING INDEX sqlite_autoindex_certificates_1 (serial=?)":                 {Serial: &serial.Number{}},
		"SEARCH c USING INDEX certificates_fingerprint (fingerprint=?)":                   {Fingerprint: &[32]byte{}, Name: "n", Profile: "p"},
		"SEARCH n USING PRIMARY KEY (value=?)":                                            {Name: "n", AccountID: "a", Status: store.CertificateGood, Now: now},
		"SEARCH c USING INDEX certificates_account (account_id=?)":                        {AccountID: "a", Profile: "p", ExpiresBefore: now},
		"SEARCH c USING INDEX certificates_profile (profile=?)":                           {Profile: "p", Status: store.CertificateGood, Now: now},
		"SEARCH c USING INDEX certificates_not_after (not_after<?)":                       {ExpiresBefore: now, Profile: "p"},
		"SEARCH c USING INDEX certificates_not_after (not_after>? AND not_after<?)":       {ExpiresBefore: now, Status: store.CertificateGood, Now: now},
		"SEARCH c USING INDEX certificates_revoked (revoked>?)":                           {Status: store.CertificateRevoked, ExpiresBefore: now},
		"SEARCH c USING INDEX certificates_revoked (revoked>?) ":                          {Status: store.CertificateAbandoned},
	} {
		q := listing(&query)
		if lines := plan(t, c, q.sql(), q.args...); lines[0] != strings.TrimSpace(want) {
			t.Errorf("%+v: %s, want %s", query, lines, want)
		}
	}
}
