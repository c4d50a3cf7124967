package sqlite

import (
	"slices"
	"testing"
)

// TestNameKeys checks where names and patterns meet in service_names.
func TestNameKeys(t *testing.T) {
	for name, want := range map[string][2]string{
		"www.a.corp":        {"corp.a.", "www"},
		"*.corp":            {"corp.", "*"},
		"localhost":         {"", "localhost"},
		"10.0.0.1":          {outside, "10.0.0.1"},
		"fe80::1":           {outside, "fe80::1"},
		"a@b.corp":          {outside, "a@b.corp"},
		"spiffe://b.corp/x": {outside, "spiffe://b.corp/x"},
	} {
		if domain, label := nameKey(name); domain != want[0] || label != want[1] {
			t.Errorf("%s is %q in %q", name, label, domain)
		}
	}
}

func TestOfPattern(t *testing.T) {
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
			if ofPattern(name, pattern) {
				got = append(got, name)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", pattern, got, want)
		}
	}
}

func TestTrigrams(t *testing.T) {
	for part, want := range map[string]int{
		"":                               0,
		"ab":                             0,
		"abc":                            1,
		"abcd":                           2,
		"a\x00bcd":                       0,
		"a\nbcd":                         0,
		"\xff\xfe\xfd":                   0,
		"äöü":                            1,
		"0123456789abcdefghijklmnopqrst": 10,
	} {
		if got := trigrams(part); len(got) != want {
			t.Errorf("%q has the terms %q, want %d", part, got, want)
		}
	}
	if got := quoted(`a"b`); got != `"a""b"` {
		t.Errorf("quoted is %s", got)
	}
}
