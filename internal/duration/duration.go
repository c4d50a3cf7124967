// Package duration reads and prints spans of time as people write them in
// configuration files and on command lines: "90d", "8h", "1d12h", "250ms".
package duration

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// maxDays keeps a number of days inside what a time.Duration can hold.
const maxDays = int(1<<63-1) / int(day)

// Duration is a span of time whose text form also knows days.
type Duration time.Duration

// Parse reads a duration as time.ParseDuration does, with an optional whole
// number of days ("d", of 24 hours) or weeks ("w") before the rest. Negative
// spans are refused.
func Parse(text string) (Duration, error) {
	bad := fmt.Errorf("%q is no duration; write it like 90d, 8h, 30m or 5s", text)
	rest, total := text, time.Duration(0)
	if number, after, ok := cutUnit(rest, "w"); ok {
		total, rest = time.Duration(number)*7*day, after
	}
	if number, after, ok := cutUnit(rest, "d"); ok {
		total, rest = total+time.Duration(number)*day, after
	}
	if rest != "" && (rest != "0" || rest == text) {
		tail, err := time.ParseDuration(rest)
		if err != nil || tail < 0 {
			return 0, bad
		}
		total += tail
	} else if text == "" || rest != "" {
		return 0, bad
	}
	if total < 0 {
		return 0, bad
	}
	return Duration(total), nil
}

func cutUnit(text, unit string) (number int, after string, ok bool) {
	digits, after, found := strings.Cut(text, unit)
	number, err := strconv.Atoi(digits)
	if !found || err != nil || number < 0 || number > maxDays/14 {
		return 0, text, false
	}
	return number, after, true
}

// Std is the duration as the standard library has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String writes whole days as days, and drops zero units: "90d", "1d12h", "5s".
func (d Duration) String() string {
	days, rest := time.Duration(d)/day, time.Duration(d)%day
	text := rest.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	switch {
	case days == 0:
		return text
	case rest == 0:
		return fmt.Sprintf("%dd", days)
	default:
		return fmt.Sprintf("%dd%s", days, text)
	}
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err == nil {
		*d = parsed
	}
	return err
}
