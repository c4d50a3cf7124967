package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// window is a part of the week in which a rule is in force.
type window struct {
	days     [7]bool // by time.Weekday
	from, to int     // minutes of the day; to may be before from, past midnight
	zone     *time.Location
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// parseWindow reads "mon-fri 08:00-18:00", "sat,sun" or "22:00-06:00", in UTC
// or in the zone named after it, as in "mon-fri 08:00-18:00 Europe/Berlin". A
// window that ends past midnight belongs to the day on which it begins.
func parseWindow(text string) (window, error) {
	w := window{to: 24 * 60, zone: time.UTC}
	fields := strings.Fields(text)
	if len(fields) > 1 && !strings.ContainsAny(fields[len(fields)-1], ":") {
		zone, err := time.LoadLocation(fields[len(fields)-1])
		if err != nil {
			return w, fmt.Errorf("%.60q names no time zone that is known here; write it like Europe/Berlin, or leave it out for UTC", text)
		}
		w.zone, fields = zone, fields[:len(fields)-1]
	}
	hours := len(fields) > 0 && strings.Contains(fields[len(fields)-1], ":")
	if hours && !w.setHours(fields[len(fields)-1]) {
		return w, badWindow(text)
	}
	if hours {
		fields = fields[:len(fields)-1]
	}
	switch {
	case len(fields) == 1:
		if !w.setDays(strings.ToLower(fields[0])) {
			return w, badWindow(text)
		}
	case len(fields) == 0 && hours:
		w.days = [7]bool{true, true, true, true, true, true, true}
	default:
		return w, badWindow(text)
	}
	return w, nil
}

func badWindow(text string) error {
	return fmt.Errorf("%.60q is no part of a week; write it like \"mon-fri 08:00-18:00\", \"sat,sun\" or \"22:00-06:00\"", text)
}

func (w *window) setHours(text string) bool {
	from, to, found := strings.Cut(text, "-")
	var err error
	read := func(text string) int {
		if text == "24:00" {
			return 24 * 60
		}
		t, parseErr := time.Parse("15:04", text)
		if parseErr != nil {
			err = parseErr
		}
		return t.Hour()*60 + t.Minute()
	}
	w.from, w.to = read(from), read(to)
	return found && err == nil && w.from != w.to
}

func (w *window) setDays(text string) bool {
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		day, end := slices.Index(weekdays, first), slices.Index(weekdays, last)
		if day < 0 || end < 0 {
			return false
		}
		w.days[day] = true
		for day != end {
			day = (day + 1) % 7
			w.days[day] = true
		}
	}
	return true
}

// holds reports whether the moment is in the window.
func (w *window) holds(now time.Time) bool {
	now = now.In(w.zone)
	minute, day := now.Hour()*60+now.Minute(), int(now.Weekday())
	if w.from < w.to {
		return w.days[day] && w.from <= minute && minute < w.to
	}
	return w.days[day] && minute >= w.from || w.days[(day+6)%7] && minute < w.to
}
