package sqlite

import "testing"

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
