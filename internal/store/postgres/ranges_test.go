package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"chancery/internal/serial"
	"chancery/internal/store"
	"chancery/internal/store/storetest"
)

// TestNextRange checks which ranges are made when.
func TestNextRange(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	today := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	days := func(from, to int) (list []serialRange) {
		for i := from; i < to; i++ {
			list = append(list, rangeAt(today.Add(time.Duration(i)*day), day))
		}
		return list
	}
	for name, c := range map[string]struct {
		list []serialRange
		span time.Duration
		want serialRange // zero for none
	}{
		"an undivided table":      {},
		"all there are":           {list: days(-4, 3)},
		"all there are, as asked": {list: days(-4, 3), span: day},
		"tomorrow is missing":     {list: days(-4, 1), want: days(1, 2)[0]},
		"the third is missing":    {list: days(-4, 2), want: days(2, 3)[0]},
		"after a gap":             {list: days(-9, -4), want: days(0, 1)[0]},
		"of another span":         {list: days(-4, 1), span: 7 * day, want: rangeAt(today.Add(day), 7*day)},
		"in an earlier week":      {list: days(-4, 0), span: 7 * day, want: serialRange{days(0, 1)[0].low, rangeAt(today.Truncate(7*day), 7*day).high}},
	} {
		r := ranges{list: c.list, now: today.Add(time.Hour)}
		if got, ok := r.next(c.span); ok != (c.want != serialRange{}) || ok && got != c.want {
			t.Errorf("%s: got %v %t, want %v", name, got, ok, c.want)
		}
	}
}

// TestRanges divides a table into partitions, which come and go.
func TestRanges(t *testing.T) {
	t.Parallel()
	url := theServer(t).Database(t)
	s := openAt(t, Options{URL: url, Partition: time.Hour})
	checkTables(t, s, 3)
	account := storetest.NewAccount(t)
	if _, _, err := s.CreateAccount(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	fresh := record(t, s, now)
	s = openAt(t, Options{URL: url}) // goes on without being told
	checkTables(t, s, 3)

	// Ranges that are missing are made, with what has come without them.
	drop(t, s, 1)
	ahead := record(t, s, now.Add(time.Hour))
	far := record(t, s, now.AddDate(50, 0, 0))
	checkTable(t, s, ahead, "certificates_rest")
	old := rangeAt(now.Add(-100*time.Hour).Truncate(time.Hour), time.Hour)
	err := update(t.Context(), s, "make an old partition", func(c *conn) error {
		return c.run(append([]*query{do("DROP TABLE certificates_before"), createBefore(&old)}, old.creation()...)...)
	})
	if err != nil {
		t.Fatal(err)
	}
	past, before := record(t, s, now.Add(-100*time.Hour)), record(t, s, now.AddDate(-1, 0, 0))
	tidy(t, s, time.Time{})
	next := rangeAt(now.Truncate(time.Hour).Add(time.Hour), time.Hour)
	for _, c := range []struct {
		key   store.CertificateKey
		table string
	}{
		{ahead, next.table()}, {far, "certificates_rest"}, {past, old.table()}, {before, "certificates_before"},
	} {
		checkTable(t, s, c.key, c.table)
	}

	// Those that are emptied go.
	checkTables(t, s, 4)
	tidy(t, s, now)
	checkTables(t, s, 4)
	tidy(t, s, now.Add(24*time.Hour))
	checkTables(t, s, 3)
	if _, err := s.Certificate(t.Context(), fresh); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an expired certificate is still there (%v)", err)
	}
	checkTables(t, openAt(t, Options{URL: url, Partition: 24 * time.Hour}), 5) // of another span from now on
}

// record stores a certificate with a serial of that time.
func record(t *testing.T, s *Store, made time.Time) store.CertificateKey {
	t.Helper()
	c := storetest.NewCertificate(t, &store.Order{}, made)
	c.Owner, c.NotAfter = store.Owner{}, time.Now().Add(time.Hour)
	err := s.BeginIssuance(t.Context(), store.Intent{CertificateKey: c.CertificateKey, Created: made, Deadline: made})
	if err = errors.Join(err, s.CompleteIssuance(t.Context(), c)); err != nil {
		t.Fatal(err)
	}
	return c.CertificateKey
}

func tidy(t *testing.T, s *Store, certificates time.Time) {
	t.Helper()
	if _, err := s.Tidy(t.Context(), store.TidyCutoff{Certificates: certificates}, 100); err != nil {
		t.Fatal(err)
	}
}

// drop removes the last ranges but for so many.
func drop(t *testing.T, s *Store, left int) {
	t.Helper()
	all, err := s.ranges(t.Context())
	for _, r := range all.list[left:] {
		err = errors.Join(err, s.dropRange(t.Context(), &r, store.Fence{}))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func rowsOf(t *testing.T, s *Store, sql string, args ...any) (list []string) {
	t.Helper()
	_, err := read(t.Context(), s, "look", func(c *conn) (struct{}, error) {
		return struct{}{}, c.each(func(r *row) { list = append(list, r.text()) }, sql, args...)
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// checkTables checks that there are so many ranges, with their tables.
func checkTables(t *testing.T, s *Store, want int) {
	t.Helper()
	all, err := s.ranges(t.Context())
	if err != nil || len(all.list) < want || len(all.list) > want+1 { // an hour may just have passed
		t.Fatalf("there are %d ranges, want %d (%v)", len(all.list), want, err)
	}
	tables := []string{"certificates_before", "certificates_rest"}
	for _, r := range all.list {
		tables = append(tables, r.table())
	}
	slices.Sort(tables)
	got := rowsOf(t, s, "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'certificates'::regclass ORDER BY 1")
	slices.Sort(got)
	if !slices.Equal(got, tables) {
		t.Errorf("the tables are %v, want %v", got, tables)
	}
}

func checkTable(t *testing.T, s *Store, key store.CertificateKey, want string) {
	t.Helper()
	if _, err := s.Certificate(t.Context(), key); err != nil {
		t.Error(err)
	}
	if got := rowsOf(t, s, "SELECT tableoid::regclass::text FROM certificates WHERE serial = $1", key.Serial[:]); !slices.Equal(got, []string{want}) {
		t.Errorf("the certificate of %s is in %v, want %s", serial.PrefixTime([5]byte(key.Serial[:5])), got, want)
	}
}

// TestUndivided checks that a table in use is not divided.
func TestUndivided(t *testing.T) {
	t.Parallel()
	url := theServer(t).Database(t)
	record(t, openAt(t, Options{URL: url}), time.Now())
	if _, err := Open(t.Context(), Options{URL: url, Partition: time.Hour}); !errors.Is(err, errUndivided) {
		t.Errorf("the error is %v", err)
	}
	if _, err := Open(t.Context(), Options{URL: url, Partition: time.Minute}); err == nil {
		t.Error("a span of a minute is taken")
	}
}

// TestPlans looks how the server would answer: what names a serial is looked up
// in one partition, and all else by indexes.
func TestPlans(t *testing.T) {
	t.Parallel()
	url := theServer(t).Database(t)
	_ = openAt(t, Options{URL: url, Partition: time.Hour}).Close()
	c, err := pgx.Connect(t.Context(), url+"&options=-c%20enable_seqscan%3Doff")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	n := serial.Prefix(time.Now())
	for sql, args := range map[string][]any{
		selectCertificate:       {n, "a"},
		updatePartitionsResumed: {n, "a"},
	} {
		plan := explained(t, c, sql, args...)
		if tables := strings.Count(plan, " on certificates_"); tables < 1 || strings.Count(plan, "_before") > 0 || strings.Count(plan, "Append") > 0 {
			t.Errorf("%s\n%s", sql, plan)
		}
	}
	for _, sql := range []string{
		"SELECT 1 FROM certificates WHERE profile = 'a' ORDER BY serial DESC, issuer_id DESC LIMIT 1",
		"SELECT 1 FROM certificates WHERE fingerprint = ''",
		"SELECT max(not_after) FROM certificates WHERE service = 'a' AND service <> '' AND revoked = 0",
		"SELECT 1 FROM certificates WHERE not_after < 1 ORDER BY not_after LIMIT 10",
	} {
		if plan := explained(t, c, sql); strings.Contains(plan, "Seq Scan") || strings.Count(plan, "Index") < 5 {
			t.Errorf("%s\n%s", sql, plan)
		}
	}
}

func explained(t *testing.T, c *pgx.Conn, sql string, args ...any) string {
	t.Helper()
	rows, err := c.Query(t.Context(), "EXPLAIN "+sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", sql, err))
	}
	return strings.Join(lines, "\n")
}
