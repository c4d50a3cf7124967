package form

import (
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/store"
)

// TestPlaces checks where names are, and which spans patterns have.
func TestPlaces(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][2]string{
		"www.a.corp":        {"corp.a.", "www"},
		"*.corp":            {"corp.", "*"},
		"localhost":         {"", "localhost"},
		"10.0.0.1":          {outside, "10.0.0.1"},
		"fe80::1":           {outside, "fe80::1"},
		"a@b.corp":          {outside, "a@b.corp"},
		"spiffe://b.corp/x": {outside, "spiffe://b.corp/x"},
	} {
		if domain, label := Place(name); domain != want[0] || label != want[1] {
			t.Errorf("%s is %q in %q", name, label, domain)
		}
	}
	for pattern, want := range map[string]Span{
		"**":       {To: outside},
		"**.corp":  {From: "corp.", To: "corp/"},
		"*.a.corp": {From: "corp.a."},
		"corp":     {Label: "corp", Exact: true},
	} {
		if got := Pattern(pattern); got != want {
			t.Errorf("%s is %+v", pattern, got)
		}
	}
}

func TestOfPattern(t *testing.T) {
	t.Parallel()
	names := []string{"a.corp", "*.corp", "b.a.corp", "corp", "acorp", "a@a.corp", "10.0.0.1"}
	for pattern, want := range map[string][]string{
		"*.corp":   {"a.corp", "*.corp"},
		"**.corp":  {"a.corp", "*.corp", "b.a.corp"},
		"*.a.corp": {"b.a.corp"},
		"**":       {"a.corp", "*.corp", "b.a.corp", "corp", "acorp"},
		"a.corp":   {"a.corp"},
		"10.0.0.1": {"10.0.0.1"},
		"*.0.0.1":  nil,
		"**corp":   nil,
		"**.":      nil,
		"*.":       nil,
	} {
		var got []string
		for _, name := range names {
			if OfPattern(name, pattern) {
				got = append(got, name)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", pattern, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	ids := []identifier.Identifier{{Type: identifier.DNS, Value: "a.b.corp"}, {Type: identifier.IP, Value: "10.0.0.1"}}
	names, types := Lines(ids)
	if got := Identifiers(names, types); names != "\na.b.corp\n10.0.0.1\n" || types != "dns\nip\n" || !slices.Equal(got, ids) {
		t.Errorf("%q and %q are %v", names, types, got)
	}
	if got := slices.Collect(Above(ids[0])); !slices.Equal(got, []string{"b.corp", "corp"}) {
		t.Errorf("above the name are %q", got)
	}
	if got := slices.Collect(Above(ids[1])); got != nil {
		t.Errorf("above an address are %q", got)
	}
	if ServiceKey("no hex") != nil || len(ServiceKey(store.ServiceID(ids))) != 16 {
		t.Error("a service's key is not its ID")
	}
}

func TestTexts(t *testing.T) {
	t.Parallel()
	list, err := List([]string{"a"})
	if none, _ := List([]string(nil)); list != `["a"]` || none != "" || err != nil {
		t.Errorf("the list is %q, the empty one %q: %v", list, none, err)
	}
	if text, err := Text[string](nil); text != "" || err != nil {
		t.Errorf("nothing is %q: %v", text, err)
	}
	if end, err := End(nil); end == "" || err != nil {
		t.Errorf("an end without a report is %q: %v", end, err)
	}
	attempts, err := Attempts([]store.Attempt{{Method: "a"}, {Method: "b"}})
	if want := `{"method":"a","started":"0001-01-01T00:00:00Z","took":0},{"method":"b","started":"0001-01-01T00:00:00Z","took":0}`; attempts != want || err != nil {
		t.Errorf("the attempts are %s: %v", attempts, err)
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	moment := time.UnixMilli(1_700_000_000_123).UTC()
	for _, at := range []time.Time{{}, moment} {
		if got := Time(Millis(at)); got != at {
			t.Errorf("%v comes back as %v", at, got)
		}
	}
	if Millis(Due(time.Time{})) != 1 || Due(moment) != moment {
		t.Error("what is due at once is not processing")
	}
	for _, ms := range []int64{-1, 0, 1, LongSpan - 1, LongSpan, moment.UnixMilli()} {
		short, long := Rest(ms)
		if Beginning(ms, ShortSpan)+ShortSpan != short || short <= ms || short-ms > ShortSpan || long < short || long-ms > LongSpan {
			t.Errorf("the spans of %d end at %d and %d", ms, short, long)
		}
	}
}

func TestQueries(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_700_000_000_000)
	c := store.Certificate{NotAfter: now, Issued: now.Add(1), Revocation: &store.Revocation{At: now.Add(2)}}
	for _, test := range []struct {
		query store.CertificateQuery
		order string
		at    time.Time
	}{
		{store.CertificateQuery{}, "", now},
		{store.CertificateQuery{IssuedAfter: now}, ByIssuance, now.Add(1)},
		{store.CertificateQuery{IssuedAfter: now, ExpiresBefore: now}, ByExpiry, now},
		{store.CertificateQuery{Status: store.CertificateExpired}, ByExpiry, now},
		{store.CertificateQuery{RevokedAfter: now, ExpiresBefore: now}, ByRevocation, now.Add(2)},
		{store.CertificateQuery{Status: store.CertificateAbandoned}, ByRevocation, now.Add(2)},
	} {
		if order := Order(&test.query); order != test.order || TimeIn(order, &c) != test.at {
			t.Errorf("%+v is ordered by %q, its place is %v", test.query, order, TimeIn(order, &c))
		}
	}
	for requester, want := range map[string][2]string{
		"": {}, "acme:": {"acme:", "acme;"}, "token:ci/": {"token:ci/", "token:ci0"}, "acme:x": {"acme:x", ""},
	} {
		if from, to := Requesters(requester); from != want[0] || to != want[1] {
			t.Errorf("%q is from %q to %q", requester, from, to)
		}
	}
	if PageSize(0) != 100 || PageSize(7) != 7 {
		t.Error("a page has another size")
	}
}

func TestMigrations(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{"migrations/0002.sql": {}, "migrations/0001.sql": {}}
	if names, err := Migrations(files); err != nil || !slices.Equal(names, []string{"migrations/0001.sql", "migrations/0002.sql"}) {
		t.Errorf("%q: %v", names, err)
	}
	files["migrations/0004.sql"] = &fstest.MapFile{}
	if _, err := Migrations(files); err == nil {
		t.Error("a gap is no error")
	}
}
