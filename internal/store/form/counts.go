package form

// Certificates are counted in three rows each: in that of all, in that of the
// short span of time in which it ends, and in that of the long one. So those
// that end after a moment are those of a few hundred long spans, of the short
// ones in the rest of a long one, and some that are counted one by one in the
// rest of a short one.
const (
	LevelAll   = 0
	LevelShort = 1
	LevelLong  = 2

	ShortSpan = 1 << 16 // ms: a good minute
	LongSpan  = 1 << 25 // ms: nine hours
)

// StartOfTime and EndOfTime are before and after every moment, in milliseconds.
const (
	StartOfTime int64 = -1 << 62
	EndOfTime   int64 = 1 << 62
)

// Beginning is when the span that a moment lies in began.
func Beginning(ms, span int64) int64 { return ms &^ (span - 1) }

// Rest is when the short and the long span that a moment lies in end.
func Rest(ms int64) (short, long int64) {
	return Beginning(ms, ShortSpan) + ShortSpan, Beginning(ms, LongSpan) + LongSpan
}
