package measure

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestPercentiles(t *testing.T) {
	r := NewRecorder()
	var clients sync.WaitGroup
	for client := range 10 {
		clients.Go(func() {
			for i := range 1000 {
				r.Record(client, "", time.Duration(client*1000+i+1)*time.Microsecond, 1)
			}
		})
	}
	clients.Wait()
	l := r.Summary().Latency
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"min", l.MinUS, 1}, {"p50", l.P50US, 5000}, {"p90", l.P90US, 9000}, {"p99", l.P99US, 9900},
		{"p99.9", l.P999US, 9990}, {"max", l.MaxUS, 10_000}, {"mean", l.MeanUS, 5000.5},
	} {
		if !near(c.got, c.want) {
			t.Errorf("%s is %v us, want %v", c.name, c.got, c.want)
		}
	}
	if l.Count != 10_000 {
		t.Errorf("%d latencies, want 10000", l.Count)
	}
}

func TestExtremesStayInRange(t *testing.T) {
	r := NewRecorder()
	r.Record(0, "", -time.Second, 1)
	r.Record(0, "", time.Hour, 1)
	l := r.Summary().Latency
	if l.Count != 2 || l.MinUS != 0.001 || !near(l.MaxUS, longest.Seconds()*1e6) {
		t.Errorf("%+v, want a nanosecond and %v", l, longest)
	}
}

// TestJSONShape freezes the names that scripts depend on.
func TestJSONShape(t *testing.T) {
	r := NewRecorder()
	r.Record(0, "read", time.Millisecond, 1)
	r.Fail("down", errDown, 1)
	text, err := json.Marshal(Result{Summary: r.Summary(), Seconds: 2, OpsPerSec: 0.5})
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"count", "error_samples", "errors", "errors_by_kind", "max_us", "mean_us", "min_us", "ops_per_sec",
		"p50_us", "p90_us", "p999_us", "p99_us", "parts", "seconds", "unsent",
	}
	if got := slices.Sorted(maps.Keys(fields)); !slices.Equal(got, want) {
		t.Errorf("fields %v, want %v", got, want)
	}
	if fields["errors"] != 1.0 || fields["ops_per_sec"] != 0.5 {
		t.Errorf("errors %v and ops_per_sec %v, want 1 and 0.5", fields["errors"], fields["ops_per_sec"])
	}
}
