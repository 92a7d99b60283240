package measure

import (
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latency is the latencies of successful operations, in microseconds with the precision
// of the histogram: three digits.
type Latency struct {
	Count  int64   `json:"count"`
	MinUS  float64 `json:"min_us"`
	MeanUS float64 `json:"mean_us"`
	P50US  float64 `json:"p50_us"`
	P90US  float64 `json:"p90_us"`
	P99US  float64 `json:"p99_us"`
	P999US float64 `json:"p999_us"`
	MaxUS  float64 `json:"max_us"`
}

// Summary is what a Recorder holds.
type Summary struct {
	Latency
	Parts        map[string]Latency `json:"parts,omitempty"`
	Errors       int64              `json:"errors"`
	ErrorsByKind map[string]int64   `json:"errors_by_kind"`
	// ErrorSamples is the text of one error of each kind.
	ErrorSamples map[string]string `json:"error_samples,omitempty"`
}

// Result is what a run measured.
type Result struct {
	Summary
	// Seconds is how long the window was.
	Seconds   float64 `json:"seconds"`
	OpsPerSec float64 `json:"ops_per_sec"`
	// Unsent is how many operations of an open loop were due and not sent before the
	// end; the percentiles count each with its age then.
	Unsent int64 `json:"unsent"`
}

func latency(h *hdrhistogram.Histogram) Latency {
	if h.TotalCount() == 0 {
		return Latency{}
	}
	at := func(percent float64) float64 { return micros(h.ValueAtPercentile(percent)) }
	return Latency{
		Count: h.TotalCount(), MinUS: micros(h.Min()), MeanUS: round(h.Mean() / 1e3), MaxUS: micros(h.Max()),
		P50US: at(50), P90US: at(90), P99US: at(99), P999US: at(99.9),
	}
}

// micros are microseconds with the nanoseconds behind the point.
func micros(nanos int64) float64 { return float64(nanos) / float64(time.Microsecond) }

// round cuts what no clock has measured.
func round(v float64) float64 { return math.Round(v*1e3) / 1e3 }
