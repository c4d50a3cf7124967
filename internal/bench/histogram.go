package bench

import (
	"math"
	"math/bits"
	"time"
)

// histogram counts durations in buckets that are at most 0.8 % wide, so that a
// long run needs no more memory than a short one. The zero value is empty.
type histogram struct {
	counts [buckets]uint64
	total  uint64
	max    time.Duration
}

// A bucket is known by the eight highest bits of its microseconds and by how
// many bits follow. Durations end at 2^32 µs, which is more than an hour.
const (
	significant = 8
	half        = 1 << (significant - 1)
	buckets     = (32-significant)*half + 2*half
)

func (h *histogram) add(d time.Duration) {
	micros := uint64(min(max(d.Microseconds(), 0), math.MaxUint32))
	shift := max(bits.Len64(micros)-significant, 0)
	h.counts[shift*half+int(micros>>shift)]++
	h.total++
	h.max = max(h.max, d)
}

// quantile is the least duration that a share q of all are not longer than,
// to within the width of a bucket; 0 when there is none.
func (h *histogram) quantile(q float64) time.Duration {
	rank, seen := uint64(math.Ceil(q*float64(h.total))), uint64(0)
	for i, count := range h.counts {
		if seen += count; count > 0 && seen >= rank {
			shift := max(i/half-1, 0)
			top := (uint64(i-shift*half)+1)<<shift - 1
			return min(time.Duration(top)*time.Microsecond, h.max)
		}
	}
	return 0
}
