package serial

import (
	"crypto/rand"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestNewIsPositiveUniqueAndGrows(t *testing.T) {
	seen := map[Number]bool{}
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	last := ""
	for i := range 1000 {
		n, err := New(now.Add(time.Duration(i)*time.Hour), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if n[0] < 1 || n[0] > 0x7f || seen[n] || n.String() <= last {
			t.Fatalf("serial %v after %v", n, last)
		}
		seen[n], last = true, n.String()
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "0A": 10, "0a:0B": 0x0a0b, "0x0102": 0x102, strings.Repeat("0", 40): 0} {
		n, err := Parse(text)
		if err != nil || n.Big().Cmp(big.NewInt(want)) != 0 {
			t.Errorf("Parse(%q) = %v, %v", text, n, err)
		}
		if again, err := Parse(n.String()); err != nil || again != n || len(n.String()) != 40 {
			t.Errorf("%v does not survive its own text", n)
		}
		if back, ok := FromBig(n.Big()); !ok || back != n {
			t.Errorf("%v does not survive big.Int", n)
		}
	}
	for _, text := range []string{"", "g", strings.Repeat("1", 41), "-1", "1 2"} {
		if n, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) = %v", text, n)
		}
	}
	if _, ok := FromBig(big.NewInt(-1)); ok {
		t.Error("a negative number is accepted")
	}
}

func TestPrefixTime(t *testing.T) {
	now := time.Date(2026, 11, 23, 1, 2, 3, 250e6, time.UTC)
	for _, at := range []time.Time{now, now.Add(tick - 1)} {
		if got := PrefixTime([prefixSize]byte(Prefix(at))); !got.Equal(now) {
			t.Errorf("serials of %s begin at %s", at, got)
		}
	}
}
