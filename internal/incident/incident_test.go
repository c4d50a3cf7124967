package incident_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"chancery/internal/incident"
	"chancery/internal/inventory"
	"chancery/internal/store"
)

var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// lister gives what the test wants and counts how often it is asked.
type lister struct {
	list  []store.Incident
	err   error
	asked int
}

func (l *lister) ListIncidents(context.Context) ([]store.Incident, error) {
	l.asked++
	return l.list, l.err
}

func newBook(from incident.Lister) *incident.Book {
	return incident.NewBook(from, slog.New(slog.DiscardHandler))
}

func about(t *testing.T, query inventory.Query) store.Incident {
	t.Helper()
	text, err := json.Marshal(query)
	if err != nil {
		t.Fatal(err)
	}
	return store.Incident{ID: "i1", Query: text, Explanation: "https://corp/why", Opened: epoch, RenewBy: epoch.Add(24 * time.Hour)}
}

// certificate has a lifetime of 90 days and was issued a day before epoch.
func certificate(number int) *store.Certificate {
	c := &store.Certificate{Profile: "p", Issued: epoch.Add(-24 * time.Hour), NotBefore: epoch.Add(-24 * time.Hour), NotAfter: epoch.Add(89 * 24 * time.Hour)}
	binary.BigEndian.PutUint64(c.Serial[12:], uint64(number))
	return c
}

func TestOrdinaryWindow(t *testing.T) {
	start, end, why := newBook(&lister{}).Window(t.Context(), certificate(1), epoch)
	if !start.Equal(epoch.Add(59*24*time.Hour-90*24*time.Hour/100)) || !end.Equal(epoch.Add(59*24*time.Hour+90*24*time.Hour/100)) || why != "" {
		t.Errorf("%v to %v, %q", start, end, why)
	}
}

func TestRevokedWindow(t *testing.T) {
	c := certificate(1)
	c.Revocation = &store.Revocation{At: epoch.Add(time.Minute)}
	book := newBook(&lister{list: []store.Incident{about(t, inventory.Query{Profile: "p"})}})
	start, end, why := book.Window(t.Context(), c, epoch.Add(time.Hour))
	if !start.Before(end) || end.After(epoch) || why != "https://corp/why" {
		t.Errorf("%v to %v, %q", start, end, why)
	}
}

// TestWindowsAreSpread: over all the time there is, evenly, and always the same
// for the same certificate.
func TestWindowsAreSpread(t *testing.T) {
	const many = 10_000
	from := &lister{list: []store.Incident{about(t, inventory.Query{Profile: "p"})}}
	book, again := newBook(from), newBook(from)
	var hours [24]int
	for i := range many {
		start, end, why := book.Window(t.Context(), certificate(i), epoch.Add(time.Second))
		if start.Before(epoch) || end.After(epoch.Add(24*time.Hour)) || !start.Before(end) || why != "https://corp/why" {
			t.Fatalf("certificate %d: %v to %v, %q", i, start, end, why)
		}
		hours[int(start.Add(end.Sub(start)/2).Sub(epoch).Hours())]++
		if same, _, _ := again.Window(t.Context(), certificate(i), epoch.Add(20*time.Second)); !same.Equal(start) {
			t.Fatalf("certificate %d: %v, then %v", i, start, same)
		}
	}
	for hour, count := range hours[1:23] {
		if count < many/24*3/4 || count > many/24*4/3 {
			t.Errorf("hour %d has %d of %d", hour+1, count, many)
		}
	}
	if from.asked != 2 {
		t.Errorf("the store was asked %d times", from.asked)
	}
}

func TestWhomAnIncidentConcerns(t *testing.T) {
	for name, test := range map[string]struct {
		change   func(*store.Certificate, *store.Incident)
		affected bool
	}{
		"the selected":        {func(*store.Certificate, *store.Incident) {}, true},
		"others":              {func(c *store.Certificate, _ *store.Incident) { c.Profile = "q" }, false},
		"issued since":        {func(c *store.Certificate, _ *store.Incident) { c.Issued = epoch }, false},
		"ended before":        {func(c *store.Certificate, _ *store.Incident) { c.NotAfter = epoch.Add(-time.Second) }, false},
		"abandoned":           {func(c *store.Certificate, _ *store.Incident) { c.Abandoned = true }, false},
		"revoked before":      {func(c *store.Certificate, _ *store.Incident) { c.Revocation = &store.Revocation{At: epoch.Add(-1)} }, false},
		"revoked since":       {func(c *store.Certificate, _ *store.Incident) { c.Revocation = &store.Revocation{At: epoch} }, true},
		"of a closed one":     {func(_ *store.Certificate, i *store.Incident) { i.Closed = epoch.Add(time.Second) }, false},
		"of one not readable": {func(_ *store.Certificate, i *store.Incident) { i.Query = json.RawMessage("[]") }, false},
	} {
		c, i := certificate(1), about(t, inventory.Query{Profile: "p"})
		test.change(c, &i)
		_, _, why := newBook(&lister{list: []store.Incident{i}}).Window(t.Context(), c, epoch)
		if affected := why != ""; affected != test.affected {
			t.Errorf("%s: %v", name, affected)
		}
	}
}

// TestUsualWindowIsKept when it is earlier than the incident's.
func TestUsualWindowIsKept(t *testing.T) {
	c := certificate(1)
	c.NotBefore, c.NotAfter = epoch.Add(-48*time.Hour), epoch.Add(20*time.Hour)
	start, _, why := newBook(&lister{list: []store.Incident{about(t, inventory.Query{Profile: "p"})}}).Window(t.Context(), c, epoch)
	if !start.Before(epoch) || why != "" {
		t.Errorf("%v, %q", start, why)
	}
}

func TestBookReadsAgain(t *testing.T) {
	from := &lister{}
	book, now := newBook(from), epoch
	expect := func(asked int, affected bool) {
		t.Helper()
		if _, _, why := book.Window(t.Context(), certificate(1), now); from.asked != asked || (why != "") != affected {
			t.Errorf("asked %d times, %q", from.asked, why)
		}
	}
	expect(1, false)
	from.list = []store.Incident{about(t, inventory.Query{Profile: "p"})}
	expect(1, false)
	book.Forget()
	expect(2, true)
	from.list, now = nil, now.Add(59*time.Second)
	expect(2, true)
	from.err, now = errors.New("the store is away"), now.Add(time.Second)
	expect(3, true) // what is known serves on
	from.err = nil
	expect(4, false)
}

func BenchmarkWindow(b *testing.B) {
	text, err := json.Marshal(inventory.Query{Name: "**.corp", Profile: "p"})
	if err != nil {
		b.Fatal(err)
	}
	from := &lister{}
	for range incident.MaxOpen {
		from.list = append(from.list, store.Incident{Query: text, Opened: epoch, RenewBy: epoch.Add(time.Hour)})
	}
	book, c := newBook(from), certificate(1)
	for b.Loop() {
		book.Window(b.Context(), c, epoch)
	}
}

// slow answers when it is told, and tells when it is asked.
type slow struct {
	asked chan struct{}
	list  chan []store.Incident
}

func (s *slow) ListIncidents(context.Context) ([]store.Incident, error) {
	s.asked <- struct{}{}
	return <-s.list, nil
}

// TestForgetWhileReading: to forget never waits for the store, and what was
// read before is not gone by afterwards.
func TestForgetWhileReading(t *testing.T) {
	from := &slow{asked: make(chan struct{}), list: make(chan []store.Incident)}
	book, c := newBook(from), certificate(1)
	ordinary, _, _ := newBook(&lister{}).Window(t.Context(), c, epoch)
	first := make(chan time.Time)
	go func() {
		start, _, _ := book.Window(t.Context(), c, epoch)
		first <- start
	}()
	<-from.asked
	book.Forget()
	from.list <- nil
	if start := <-first; !start.Equal(ordinary) {
		t.Errorf("%v", start)
	}
	go func() {
		start, _, _ := book.Window(t.Context(), c, epoch)
		first <- start
	}()
	<-from.asked // it is read again
	from.list <- []store.Incident{about(t, inventory.Query{})}
	if start := <-first; !start.Before(ordinary) {
		t.Errorf("%v", start)
	}
}
