package duration

import (
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90d": 90 * day, "8h": 8 * time.Hour, "1d12h": 36 * time.Hour, "250ms": 250 * time.Millisecond,
		"1w": 7 * day, "0": 0, "0s": 0, "1h30m": 90 * time.Minute,
	} {
		got, err := Parse(text)
		if err != nil || got.Std() != want {
			t.Errorf("Parse(%q) = %v, %v; want %v", text, got, err, want)
		}
		if back, err := Parse(got.String()); err != nil || back != got {
			t.Errorf("%q prints as %q, which parses as %v, %v", text, got, back, err)
		}
	}
	for _, text := range []string{"", "d", "-1d", "-5s", "5", "1d0x", "1d-5s", "999999999999d", "x"} {
		if got, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", text, got)
		}
	}
}

func TestString(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"90d": 90 * day, "8h": 8 * time.Hour, "1d12h": 36 * time.Hour, "1h30m": 90 * time.Minute, "5s": 5 * time.Second, "10m": 10 * time.Minute, "0s": 0,
	} {
		if got := Duration(d).String(); got != want {
			t.Errorf("%v prints as %q, want %q", d, got, want)
		}
	}
}
