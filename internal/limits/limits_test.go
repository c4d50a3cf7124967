package limits

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
)

// clock is a time that only tests move.
type clock struct{ time.Time }

func (c *clock) now() time.Time          { return c.Time }
func (c *clock) pass(some time.Duration) { c.Time = c.Add(some) }

func newClock() *clock { return &clock{time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)} }

func dns(names ...string) []identifier.Identifier {
	ids := make([]identifier.Identifier, len(names))
	for i, name := range names {
		ids[i], _ = identifier.Guess(name)
	}
	return ids
}

// exceeded expects a failure that names the limit and when to come back.
func exceeded(t *testing.T, err error, limit string, wait time.Duration) {
	t.Helper()
	failed := new(failure.Error)
	if !errors.As(err, &failed) || failed.Kind != failure.RateLimited || !strings.Contains(failed.Public, limit) {
		t.Errorf("the error is %v, want one about %s", err, limit)
		return
	}
	if off := failed.RetryAfter - wait; off < 0 || off > time.Second {
		t.Errorf("%s: retry after %s, want %s", limit, failed.RetryAfter, wait)
	}
}

func TestRates(t *testing.T) {
	for text, want := range map[string]Rate{
		"300/3h": {300, 3 * time.Hour}, "1000/h": {1000, time.Hour}, "5/7d": {5, 168 * time.Hour}, "1/s": {1, time.Second}, "off": {}, "": {},
	} {
		rate, err := ParseRate(text)
		if err != nil || rate != want {
			t.Errorf("%q is %v, %v", text, rate, err)
		}
		if again, err := ParseRate(rate.String()); err != nil || again != rate {
			t.Errorf("%s is read back as %v, %v", rate, again, err)
		}
	}
	for _, text := range []string{"300", "0/h", "-1/h", "x/h", "1/", "1/0", "1/ms", "1/2x", "9999999999999/h", "1/1ms"} {
		if rate, err := ParseRate(text); err == nil {
			t.Errorf("%q is the rate %v", text, rate)
		}
	}
}

func TestOrders(t *testing.T) {
	now := newClock()
	l := New(Config{NewOrders: Rate{3, 3 * time.Hour}}, now.now)
	order := Order{AccountID: "a", Names: dns("x.corp")}
	for range 3 {
		if _, err := l.Order(t.Context(), order); err != nil {
			t.Fatal(err)
		}
	}
	_, err := l.Order(t.Context(), order)
	exceeded(t, err, "limits.new_orders", time.Hour)
	if _, err := l.Order(t.Context(), Order{AccountID: "b"}); err != nil {
		t.Errorf("another account: %v", err)
	}
	renewal := order
	renewal.Renewal = true
	if taken, err := l.Order(t.Context(), renewal); err != nil {
		t.Errorf("a renewal: %v", err)
	} else {
		taken.Refund(t.Context()) // of nothing
	}
	now.pass(time.Hour)
	taken, err := l.Order(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.Order(t.Context(), order)
	exceeded(t, err, "limits.new_orders", time.Hour)
	taken.Refund(t.Context())
	taken.Refund(t.Context()) // once is enough
	if _, err = l.Order(t.Context(), order); err != nil {
		t.Errorf("after the refund: %v", err)
	}
	_, err = l.Order(t.Context(), order)
	exceeded(t, err, "limits.new_orders", time.Hour)
}

func TestOneLimitTakesNothingOfTheOther(t *testing.T) {
	now := newClock()
	l := New(Config{NewOrders: Rate{2, time.Hour}}, now.now)
	order := Order{AccountID: "a", GrantID: "g", MaxRate: Rate{1, time.Hour}}
	if _, err := l.Order(t.Context(), order); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err := l.Order(t.Context(), order)
		exceeded(t, err, "the grant's max-rate", time.Hour)
	}
	order.GrantID = "" // one of the two was left
	if _, err := l.Order(t.Context(), order); err != nil {
		t.Error(err)
	}
}

func TestAccounts(t *testing.T) {
	now := newClock()
	l := New(Preset("letsencrypt"), now.now)
	for range 10 {
		if _, err := l.Account(t.Context(), netip.MustParseAddr("::ffff:10.0.0.1")); err != nil {
			t.Fatal(err)
		}
	}
	_, err := l.Account(t.Context(), netip.MustParseAddr("10.0.0.1"))
	exceeded(t, err, "10.0.0.1: at most 10/3h (limits.new_accounts)", 18*time.Minute)
	for i := range 500 {
		if _, err := l.Account(t.Context(), netip.MustParseAddr(fmt.Sprintf("2001:db8:1:%x::1", i))); err != nil {
			t.Fatal(err)
		}
	}
	_, err = l.Account(t.Context(), netip.MustParseAddr("2001:db8:1:ffff::1"))
	exceeded(t, err, "2001:db8:1::/48", 3*time.Hour/500)
}

func TestFailedValidations(t *testing.T) {
	now := newClock()
	l := New(Config{FailedValidations: Rate{2, time.Hour}}, now.now)
	name := dns("x.corp")
	for range 5 {
		l.Failed(t.Context(), "a", name[0])
	}
	_, err := l.Order(t.Context(), Order{AccountID: "a", Names: name, Unproven: name})
	exceeded(t, err, "failed validations of x.corp", 30*time.Minute)
	for _, order := range []Order{{AccountID: "b", Unproven: name}, {AccountID: "a", Unproven: dns("y.corp")}, {AccountID: "a", Names: name}} {
		if _, err := l.Order(t.Context(), order); err != nil {
			t.Errorf("%+v: %v", order, err)
		}
	}
	now.pass(30 * time.Minute)
	if _, err := l.Order(t.Context(), Order{AccountID: "a", Unproven: name}); err != nil {
		t.Error(err)
	}
}

func TestCertificates(t *testing.T) {
	now := newClock()
	l := New(Config{CertificatesPerSet: Rate{1, 7 * 24 * time.Hour}, CertificatesPerDomain: Rate{3, 24 * time.Hour}}, now.now)
	for _, names := range [][]identifier.Identifier{dns("a.x.corp", "b.x.corp"), dns("a.x.corp"), dns("*.x.corp", "fd00::1")} {
		if _, err := l.Certificate(t.Context(), names, false); err != nil {
			t.Fatal(err)
		}
	}
	_, err := l.Certificate(t.Context(), dns("b.x.corp", "a.x.corp", "a.x.corp"), false)
	exceeded(t, err, "limits.certificates_per_set", 7*24*time.Hour)
	_, err = l.Certificate(t.Context(), dns("c.x.corp"), false)
	exceeded(t, err, "certificates for x.corp: at most 3/1d (limits.certificates_per_domain)", 8*time.Hour)
	if _, err := l.Order(t.Context(), Order{AccountID: "a", Names: dns("c.x.corp")}); err == nil {
		t.Error("an order that can't be issued is taken")
	}
	if _, err := l.Certificate(t.Context(), dns("c.x.corp"), true); err != nil {
		t.Errorf("a renewal: %v", err)
	}
	if _, err := l.Certificate(t.Context(), dns("a.y.corp"), false); err != nil {
		t.Errorf("another domain: %v", err)
	}
}

func TestUsage(t *testing.T) {
	now := newClock()
	l := New(Config{NewOrders: Rate{10, time.Hour}, FailedValidations: Rate{1, time.Hour}}, now.now)
	if list := l.All(); len(list) != 2 || list[0].Limit != "new_orders" || list[0].Rate.String() != "10/1h" {
		t.Errorf("the limits are %+v", list)
	}
	order := Order{AccountID: "a", Names: dns("x.corp", "y.corp")}
	_, _ = l.Order(t.Context(), order)
	l.Failed(t.Context(), "a", order.Names[1])
	list, err := l.Used(t.Context(), []Order{order, order})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].Used != 1 || list[0].Wait != 0 || list[1].Of != "a y.corp" || list[1].Wait != time.Hour {
		t.Errorf("used: %+v", list)
	}
}

// TestMemoryHasABound counts more than fits, all of it busy.
func TestMemoryHasABound(t *testing.T) {
	table, now := newTable(6400), newClock()
	for i := range 100_000 {
		table.take(key{"x", fmt.Sprint(i), ""}, Rate{1, time.Hour}, now.now())
	}
	if size := table.size(); size > 6400 || size < 3000 {
		t.Errorf("%d keys are kept", size)
	}
	now.pass(2 * time.Hour)
	for i := range 3200 {
		table.take(key{"y", fmt.Sprint(i), ""}, Rate{1, time.Hour}, now.now())
	}
	if _, ok := table.take(key{"y", "1", ""}, Rate{1, time.Hour}, now.now()); ok {
		t.Error("a busy key was dropped while there were idle ones")
	}
}

func TestRace(t *testing.T) {
	l := New(Config{NewOrders: Rate{100, time.Hour}}, newClock().now)
	var all sync.WaitGroup
	var passed atomic.Int64
	for range 8 {
		all.Go(func() {
			for range 50 {
				if _, err := l.Order(t.Context(), Order{AccountID: "a"}); err == nil {
					passed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if passed.Load() != 100 {
		t.Errorf("%d passed, want 100", passed.Load())
	}
}

func BenchmarkTake(b *testing.B) {
	table, now := newTable(maxKeys), time.Now()
	rate := Rate{1_000_000_000, time.Hour}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			table.take(key{newOrders, "0123456789abcdef0123456789abcdef", ""}, rate, now)
		}
	})
}

func BenchmarkTakeMany(b *testing.B) {
	table, now := newTable(maxKeys), time.Now()
	keys := make([]key, 100_000)
	for i := range keys {
		keys[i] = key{newOrders, fmt.Sprintf("%032d", i), ""}
	}
	for i := 0; b.Loop(); i++ {
		table.take(keys[i%len(keys)], Rate{300, time.Hour}, now)
	}
}
