package measure

import (
	"maps"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// What a histogram can tell apart: nanoseconds up to longest, three digits of each.
const (
	longest = 10 * time.Minute // longer ones count as this
	digits  = 3
	// shards is how many histograms share the recording, so that clients seldom wait
	// for each other.
	shards = 8
)

// Recorder collects latencies and failures, by part.
type Recorder struct {
	shards [shards]shard

	mu      sync.Mutex
	errors  map[string]int64
	samples map[string]string // one error's text for each kind
}

// shard is the latencies of some of the clients.
type shard struct {
	mu    sync.Mutex
	all   *hdrhistogram.Histogram
	parts map[string]*hdrhistogram.Histogram
}

// NewRecorder returns an empty recorder.
func NewRecorder() *Recorder {
	return &Recorder{errors: make(map[string]int64), samples: make(map[string]string)}
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(longest), digits)
}

// Record notes a success that took so long, times times. Clients record beside each
// other if their numbers differ.
func (r *Recorder) Record(client int, part string, took time.Duration, times int64) {
	value := int64(min(max(took, 1), longest))
	s := &r.shards[client%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all, s.parts = newHistogram(), make(map[string]*hdrhistogram.Histogram)
	}
	// A value within the histogram's range cannot be refused.
	_ = s.all.RecordValues(value, times)
	if part == "" {
		return
	}
	h, ok := s.parts[part]
	if !ok {
		h = newHistogram()
		s.parts[part] = h
	}
	_ = h.RecordValues(value, times)
}

// Fail notes a failure of a kind, times times.
func (r *Recorder) Fail(kind string, err error, times int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors[kind] += times
	if _, ok := r.samples[kind]; !ok {
		r.samples[kind] = err.Error()
	}
}

// merged returns all shards' histograms in one, and those of the parts.
func (r *Recorder) merged() (*hdrhistogram.Histogram, map[string]*hdrhistogram.Histogram) {
	all, parts := newHistogram(), make(map[string]*hdrhistogram.Histogram)
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		if s.all != nil {
			all.Merge(s.all)
		}
		for name, h := range s.parts {
			if parts[name] == nil {
				parts[name] = newHistogram()
			}
			parts[name].Merge(h)
		}
		s.mu.Unlock()
	}
	return all, parts
}

// Summary returns what was recorded.
func (r *Recorder) Summary() Summary {
	all, parts := r.merged()
	out := Summary{Latency: latency(all)}
	for name, h := range parts {
		if out.Parts == nil {
			out.Parts = make(map[string]Latency)
		}
		out.Parts[name] = latency(h)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out.ErrorsByKind, out.ErrorSamples = maps.Clone(r.errors), maps.Clone(r.samples)
	for _, n := range r.errors {
		out.Errors += n
	}
	return out
}
