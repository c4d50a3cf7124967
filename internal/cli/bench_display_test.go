package cli

import (
	"strings"
	"testing"
	"time"

	"chancery/internal/bench"
)

func TestBenchDisplayShowsTheRateOfTheLastSeconds(t *testing.T) {
	var out strings.Builder
	d := &benchDisplay{out: &out}
	issued := 0
	for i := 1; i <= 40; i++ {
		out.Reset()
		if issued += 25; i > 30 { // four reports a second: first 100 certificates a second, then 40
			issued -= 15
		}
		d.show(bench.Snapshot{Elapsed: time.Duration(i) * 250 * time.Millisecond, Issued: issued, P50: 1500 * time.Microsecond, P99: 2 * time.Second, Failed: 3})
		want := map[int]string{1: "100.0/s", 30: "100.0/s", 40: "40.0/s"}[i]
		if !strings.Contains(out.String(), want) {
			t.Errorf("report %d is %q, want %s in it", i, out.String(), want)
		}
	}
	if want := "\r\x1b[K10s  issued 850  40.0/s  p50 1.5 ms  p99 2000.0 ms  failed 3"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
