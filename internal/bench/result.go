package bench

import (
	"encoding/json"
	"math"
	"time"
)

// Result is what was measured.
type Result struct {
	Snapshot        // Elapsed ends with the last order
	Late        int // orders that were to begin at the rate asked for and had not begun at the end
	Retried     int // requests sent again: a nonce was refused, or the server asked for patience
	P90, Max    time.Duration
	Failures    map[string]Failure // by their type
	Client      time.Duration      // CPU time of this process
	Server      *ServerUsage       // nil when no process was named
	Interrupted bool
}

// ServerUsage is what the server's process and its descendants used.
type ServerUsage struct {
	CPU  time.Duration // while the load lasted
	Peak int64         // bytes resident at once, ever; for several processes the sum of their peaks
}

// PerSecond is the rate of certificates.
func (r *Result) PerSecond() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Issued) / r.Elapsed.Seconds()
}

// PerCertificate divides a CPU time by the certificates; false when there is
// none.
func (r *Result) PerCertificate(cpu time.Duration) (time.Duration, bool) {
	if r.Issued == 0 {
		return 0, false
	}
	return cpu / time.Duration(r.Issued), true
}

// MarshalJSON writes numbers for scripts: times in milliseconds, memory in
// 2^20 bytes; null is what was not measured.
func (r *Result) MarshalJSON() ([]byte, error) {
	counts := make(map[string]int, len(r.Failures))
	for kind, failure := range r.Failures {
		counts[kind] = failure.Count
	}
	var serverCPU, peak *float64
	if r.Server != nil {
		serverCPU = r.millisPerCertificate(r.Server.CPU)
		megabytes := round(float64(r.Server.Peak) / (1 << 20))
		peak = &megabytes
	}
	return json.Marshal(struct {
		Issued      int            `json:"issued"`
		Failed      int            `json:"failed"`
		PerSecond   float64        `json:"per_second"`
		P50         float64        `json:"p50_ms"`
		P90         float64        `json:"p90_ms"`
		P99         float64        `json:"p99_ms"`
		Max         float64        `json:"max_ms"`
		CPU         *float64       `json:"cpu_ms_per_certificate"`
		PeakRSS     *float64       `json:"peak_rss_mb"`
		ClientCPU   *float64       `json:"client_cpu_ms_per_certificate"`
		Errors      map[string]int `json:"errors"`
		Seconds     float64        `json:"seconds"`
		Late        int            `json:"late"`
		Retried     int            `json:"retried"`
		Interrupted bool           `json:"interrupted"`
	}{
		r.Issued, r.Failed, round(r.PerSecond()), millis(r.P50), millis(r.P90), millis(r.P99), millis(r.Max),
		serverCPU, peak, r.millisPerCertificate(r.Client), counts, round(r.Elapsed.Seconds()), r.Late, r.Retried, r.Interrupted,
	})
}

func (r *Result) millisPerCertificate(cpu time.Duration) *float64 {
	each, ok := r.PerCertificate(cpu)
	if !ok {
		return nil
	}
	number := millis(each)
	return &number
}

func millis(d time.Duration) float64 { return round(float64(d) / float64(time.Millisecond)) }

// round leaves three digits after the point.
func round(number float64) float64 { return math.Round(number*1000) / 1000 }
