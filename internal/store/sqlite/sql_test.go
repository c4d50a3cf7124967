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
	"updatePartitionsStale",                                                                         // in a copy that nobody uses yet
	"selectBindings", "selectIssuers", "selectProvisioners", "selectIncidents", "selectAdminTokens", // as many as an operator makes
	"selectIntents",                                                                                                                                                // as many as are being signed
	"updatePing", "selectBackfill", "updateBackfill", "deleteBackfill", "selectIndexed", "updateIndexed", "updateIndexedAtEnd", "selectIdentity", "selectTransfer", // one row
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

// TestListingPlans checks that each question is answered by its index, and
// that walks in a listing's order don't sort.
func TestListingPlans(t *testing.T) {
	c := openTest(t).writer.conn
	now, key, hash := time.Now(), store.CertificateKey{}, [32]byte{}
	for _, test := range []struct {
		query store.CertificateQuery
		want  []string // the conditions that the index of each question is searched by
	}{
		{store.CertificateQuery{}, nil},
		{store.CertificateQuery{Before: &key, Status: store.CertificateGood, Now: now}, []string{"not_after (not_after>?"}},
		{store.CertificateQuery{Serial: &key.Serial, Fingerprint: &hash, KeyHash: &hash, Replaces: &key}, []string{
			"", "fingerprint (fingerprint=?", "key (key_hash=?", "replaces (replaces_serial=? AND replaces_issuer=?",
		}},
		{store.CertificateQuery{ServiceID: "00", Subject: "s", AccountID: "a", Requester: "acme:a", Profile: "p", IssuerID: "i", Before: &key}, []string{
			"service (service=? AND serial<?", "subject (subject=? AND serial<?", "account (account_id=? AND serial<?",
			"requester (requester=? AND serial<?", "profile (profile=? AND serial<?", "issuer (issuer_id=? AND serial<?",
		}},
		{store.CertificateQuery{Name: "a", NamePattern: "*.b", NamePart: "abc", Requester: "acme:"}, []string{
			"service (service=?", "service (service=?", "service (service=?", "requester (requester>? AND requester<?",
		}},
		{store.CertificateQuery{RevokedBefore: now, ExpiresBefore: now, IssuedAfter: now, IssuedBefore: now}, []string{
			"revoked (abandoned=? AND revoked>? AND revoked<?", "not_after (not_after<?", "issued (issued>? AND issued<?",
		}},
		{store.CertificateQuery{Status: store.CertificateExpired, Now: now}, []string{"not_after (not_after<?"}},
		{store.CertificateQuery{Status: store.CertificateAbandoned}, []string{"revoked (abandoned=? AND revoked>?"}},
		{store.CertificateQuery{IssuedAfter: now}, []string{"issued (issued>?"}},
	} {
		l, err := certificateListing(c, &store.CertificateQuery{})
		if err == nil {
			before := test.query.Before
			test.query.Before = nil
			l, err = certificateListing(c, &test.query)
			if before != nil {
				l.before = []any{before.Serial[:], before.IssuerID}
			}
		}
		if err != nil || len(l.sets) != len(test.want) {
			t.Fatalf("%+v: %d questions, want %d (%v)", test.query, len(l.sets), len(test.want), err)
		}
		if len(l.order) == 2 {
			checkPlan(t, c, l, nil, "sqlite_autoindex_certificates_1")
		}
		for i, want := range test.want {
			if want = "certificates_" + want; l.sets[i].index == "" {
				want = "sqlite_autoindex_certificates_1 (serial=?"
			}
			checkPlan(t, c, l, &l.sets[i], want)
		}
	}
}

func checkPlan(t *testing.T, c *conn, l *search, s *set, want string) {
	t.Helper()
	sql, args := l.sql(s, nil)
	lines := plan(t, c, sql, args...)
	text := strings.Join(lines, "\n")
	found := slices.ContainsFunc(lines, func(line string) bool {
		return strings.HasPrefix(line, "S") && strings.Contains(line, " c USING ") && strings.Contains(line, "INDEX "+want)
	})
	inner, _, _ := strings.Cut(text, "SCAN (subquery") // what comes after sorts a page at most
	if sorts := strings.Contains(inner, "B-TREE FOR ORDER BY"); !found || sorts && (s == nil || s.ordered) {
		t.Errorf("%s\nwant %s, got\n%s", sql, want, text)
	}
}
