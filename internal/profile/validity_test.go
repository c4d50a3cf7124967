package profile

import (
	"strings"
	"testing"
	"time"

	"chancery/internal/duration"
	"chancery/internal/failure"
)

const hour = duration.Duration(time.Hour)

func TestValidity(t *testing.T) {
	p := compile(t, "p", Spec{Validity: Validity{Default: 10 * day, Shortest: hour, Longest: 20 * day}})
	second := now.Truncate(time.Second)
	at := func(d duration.Duration) time.Time { return second.Add(d.Std()) }
	minute := duration.Duration(time.Minute)
	for name, test := range map[string]struct {
		wish          Wishes
		issuerEnds    time.Time
		before, after time.Time // zero: refused
		says          string
	}{
		"nothing wished":                {before: at(-minute), after: at(10 * day)},
		"cut at the issuer's end":       {issuerEnds: at(3 * day), before: at(-minute), after: at(3 * day)},
		"an end":                        {wish: Wishes{NotAfter: at(15 * day)}, before: at(-minute), after: at(15 * day)},
		"an end with a fraction":        {wish: Wishes{NotAfter: at(15 * day).Add(999)}, before: at(-minute), after: at(15 * day)},
		"an end in another zone":        {wish: Wishes{NotAfter: at(15 * day).In(time.FixedZone("x", 3600))}, before: at(-minute), after: at(15 * day)},
		"the longest, by a fast clock":  {wish: Wishes{NotAfter: at(20*day + minute)}, before: at(-minute), after: at(20*day + minute)},
		"the shortest, by a slow clock": {wish: Wishes{NotAfter: at(hour - minute)}, before: at(-minute), after: at(hour - minute)},
		"too long":                      {wish: Wishes{NotAfter: at(20*day + 2*minute)}, says: "1h to 20d"},
		"too short":                     {wish: Wishes{NotAfter: at(hour - 2*minute)}, says: "1h to 20d"},
		"an end in the past":            {wish: Wishes{NotAfter: at(-hour)}, says: "out of bounds"},
		"an end after the issuer's":     {wish: Wishes{NotAfter: at(15 * day)}, issuerEnds: at(12 * day), says: "2026-12-05T20:03:04Z at the latest"},
		"a beginning":                   {wish: Wishes{NotBefore: at(2 * day)}, before: at(2 * day), after: at(12 * day)},
		"a beginning, cut":              {wish: Wishes{NotBefore: at(2 * day)}, issuerEnds: at(3 * day), before: at(2 * day), after: at(3 * day)},
		"a beginning at the first":      {wish: Wishes{NotBefore: at(-minute)}, before: at(-minute), after: at(10*day - minute)},
		"a beginning before that":       {wish: Wishes{NotBefore: at(-minute - 1e9)}, says: "2026-11-23T20:02:04Z to 2026-12-13T20:03:04Z"},
		"a beginning too far off":       {wish: Wishes{NotBefore: at(21 * day)}, says: "out of bounds"},
		"a beginning after the issuer":  {wish: Wishes{NotBefore: at(4 * day)}, issuerEnds: at(3 * day), says: "out of bounds"},
		"both":                          {wish: Wishes{NotBefore: at(day), NotAfter: at(21 * day)}, before: at(day), after: at(21 * day)},
		"both, too long":                {wish: Wishes{NotBefore: at(day), NotAfter: at(21*day + minute)}, says: "out of bounds"},
		"both, reversed":                {wish: Wishes{NotBefore: at(2 * day), NotAfter: at(day)}, says: "out of bounds"},
		"asked five hours ago":          {wish: Wishes{Asked: at(-5 * hour), NotBefore: at(-5 * hour), NotAfter: at(day)}, before: at(-5 * hour), after: at(day)},
		"passed since it was asked for": {wish: Wishes{Asked: at(-5 * hour), NotAfter: at(-2 * hour)}, says: "has passed"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.issuerEnds.IsZero() {
				test.issuerEnds = far
			}
			issuer := &Issuer{NotBefore: now.Add(-time.Hour), NotAfter: test.issuerEnds}
			before, after, err := p.Validity(issuer, test.wish, now)
			if test.says != "" {
				if err == nil || !strings.Contains(err.Error(), test.says) || failure.KindOf(err) != failure.Malformed {
					t.Errorf("%v; want a malformed request and %q", err, test.says)
				}
				return
			}
			if err != nil || !before.Equal(test.before) || !after.Equal(test.after) || before.Location() != time.UTC || after.Location() != time.UTC {
				t.Errorf("got %v to %v, %v; want %v to %v", before, after, err, test.before, test.after)
			}
		})
	}
}

func TestValidityNearTheIssuers(t *testing.T) {
	p := compile(t, "p", Spec{Backdate: hour})
	fresh := &Issuer{NotBefore: now.Add(-time.Minute), NotAfter: far}
	if before, _, err := p.Validity(fresh, Wishes{}, now); err != nil || !before.Equal(fresh.NotBefore.Truncate(time.Second)) {
		t.Errorf("under a fresh issuer it begins %v, %v; want the issuer's beginning", before, err)
	}
	for _, ends := range []time.Time{now.Add(-time.Hour), now, now.Add(time.Nanosecond)} {
		_, _, err := p.Validity(&Issuer{NotAfter: ends}, Wishes{}, now)
		if failure.KindOf(err) != failure.Unavailable || !strings.Contains(err.Error(), "operator must renew") {
			t.Errorf("issuer ends %v: %v; want unavailable", ends, err)
		}
	}
}
