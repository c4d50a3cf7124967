package token_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"chancery/internal/server/servertest"
)

// contents are all rows of all tables of a CA's store, by table, without those
// that the server writes by itself from time to time, and indexes for searches,
// which hold nothing of their own.
func contents(t testing.TB, ca *servertest.CA) map[string][]string {
	t.Helper()
	conn, err := sqlite3.Open("file:" + filepath.Join(ca.Dir, "chancery.db"))
	check(t, err)
	defer func() { check(t, conn.Close()) }()
	found := map[string][]string{}
	for _, table := range rows(t, conn, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('partitions', 'revocation_lists') AND sql NOT LIKE 'CREATE VIRTUAL%'") {
		found[table] = rows(t, conn, `SELECT * FROM "`+table+`"`)
		slices.Sort(found[table])
	}
	return found
}

func rows(t testing.TB, conn *sqlite3.Conn, query string) (list []string) {
	t.Helper()
	statement, _, err := conn.Prepare(query)
	check(t, err)
	defer func() { check(t, statement.Close()) }()
	for statement.Step() {
		columns := make([]string, statement.ColumnCount())
		for i := range columns {
			columns[i] = statement.ColumnText(i)
		}
		list = append(list, strings.Join(columns, "|"))
	}
	check(t, statement.Err())
	return list
}

// unchanged reports which tables have changed since they had these contents.
func unchanged(t testing.TB, ca *servertest.CA, before map[string][]string) {
	t.Helper()
	after := contents(t, ca)
	if len(after) < 10 || len(after["certificates"]) == 0 {
		t.Fatalf("the store has %d tables, and %d certificates", len(after), len(after["certificates"]))
	}
	for _, table := range slices.Sorted(maps.Keys(after)) {
		if !slices.Equal(before[table], after[table]) {
			t.Errorf("the table %s has changed: %s", table, difference(before[table], after[table]))
		}
	}
}

func difference(before, after []string) string {
	added := slices.DeleteFunc(slices.Clone(after), func(row string) bool { return slices.Contains(before, row) })
	return fmt.Sprintf("%d rows were %d; new is %.500q", len(after), len(before), added)
}
