package limits

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"chancery/internal/duration"
)

// Rate is how much of something may happen: Count at once, and again as many
// in each span of time, evenly. The zero Rate sets no limit.
type Rate struct {
	Count int
	Per   time.Duration
}

// maxCount keeps the time between two events, Per/Count, from being nothing.
const maxCount = 1_000_000_000

// ParseRate reads COUNT/SPAN, as in 300/3h, 1000/h or 5/7d. "off" and "" are
// the zero Rate.
func ParseRate(text string) (Rate, error) {
	if text == "" || text == "off" {
		return Rate{}, nil
	}
	count, span, found := strings.Cut(text, "/")
	number, err := strconv.Atoi(count)
	if span != "" && (span[0] < '0' || span[0] > '9') {
		span = "1" + span
	}
	per, spanErr := duration.Parse(span)
	if !found || err != nil || spanErr != nil || number < 1 || number > maxCount || per.Std() < time.Second {
		return Rate{}, fmt.Errorf("%.40q is no rate; write it like 300/3h, 1000/h or off", text)
	}
	return Rate{number, per.Std()}, nil
}

// String is the rate as ParseRate takes it; "off" of the zero Rate.
func (r Rate) String() string {
	if r.Count == 0 {
		return "off"
	}
	return fmt.Sprintf("%d/%s", r.Count, duration.Duration(r.Per))
}

// interval is the time, in nanoseconds, after which one more may happen.
func (r Rate) interval() int64 { return max(1, int64(r.Per)/int64(r.Count)) }

// span is how long Count events at once take to be worked off.
func (r Rate) span() int64 { return r.interval() * int64(r.Count) }

// left is how many events are not worked off yet when all of them will be after
// so long, and how long to wait for the next; 0 for no wait.
func (r Rate) left(until time.Duration) (count int, wait time.Duration) {
	owed, step := max(0, int64(until)), r.interval()
	return int((owed + step - 1) / step), time.Duration(max(0, owed+step-r.span()))
}
