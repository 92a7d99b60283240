package client

import (
	"io"
	"log"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func quietLog() *log.Logger { return log.New(io.Discard, "", 0) }

// gathered is what a client's collector says, by name.
func gathered(t *testing.T, c *Client) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c.Collector())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, f := range families {
		m := f.GetMetric()[0]
		all[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return all
}

func TestTheCollectorSaysWhatCachesDo(t *testing.T) {
	c := newClient(t, "127.0.0.1:1")
	c.metrics.hits.add()
	c.metrics.hits.add()
	c.metrics.misses.add()
	c.metrics.reconnects.Add(3)
	c.metrics.retries.Add(4)
	c.metrics.hedges.Add(5)
	got := gathered(t, c)
	for name, want := range map[string]float64{"cache_hits": 2, "cache_misses": 1, "reconnects": 3, "retries": 4, "hedges": 5} {
		if is := got["heliosmeta_client_"+name+"_total"]; is != want {
			t.Errorf("%s: %v, want %v", name, is, want)
		}
	}
	const staleness = "heliosmeta_client_cache_staleness_seconds"
	if _, shown := got[staleness]; shown {
		t.Error("a client without caches has an oldest one")
	}
	young, old := &Cache{client: c, begin: time.Now()}, &Cache{client: c, begin: time.Now().Add(-time.Hour)}
	c.caches[young], c.caches[old] = struct{}{}, struct{}{}
	if s := gathered(t, c)[staleness]; s < 3600 || s > 3700 {
		t.Errorf("the oldest is %v seconds old", s)
	}
	clear(c.caches)
}

// The age of what is shown counts the sleep of the machine, for which a wall clock alone goes
// on, and a wall clock that is set back does not make anything young.
func TestAgesCountSleep(t *testing.T) {
	now := time.Now()
	slept := now.Round(0).Add(-time.Minute) // the monotonic clock knows nothing of it
	if age := ageOf(slept); age < time.Minute {
		t.Errorf("after a minute of sleep: %v", age)
	}
	if age := ageOf(now.Add(-time.Second)); age < time.Second {
		t.Errorf("after a second: %v", age)
	}
}
