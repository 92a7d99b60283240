package client

import (
	"context"
	"errors"
	"io"
	"log"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/heliosdb/metadata/client/internal/frames"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
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
		if m.GetHistogram() != nil {
			continue
		}
		all[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return all
}

// labelled is what one of the client's metrics says, by the values of labels; of a histogram, how
// much it has seen.
func labelled(t *testing.T, c *Client, name string, labels ...string) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c.Collector())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var key []string
			for _, l := range m.GetLabel() {
				if slices.Contains(labels, l.GetName()) {
					key = append(key, l.GetValue())
				}
			}
			if f.GetName() == "heliosmeta_client_"+name {
				all[strings.Join(key, " ")] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return all
}

// Calls are timed by method and outcome, however many attempts they take.
func TestCallsAreTimed(t *testing.T) {
	_, c := startFakes(t, 1, done, fails(connect.CodeUnavailable, noLeader), done, fails(connect.CodeNotFound, metadatav1.ErrorReason_ERROR_REASON_NOT_FOUND), done)
	ctx := t.Context()
	_ = getTableOnce(t, c) // with a retry
	_ = getTableOnce(t, c)
	if err := getTableOnce(t, c); !IsNotFound(err) {
		t.Fatal(err)
	}
	if _, err := c.CreateTable(ctx, &metadatav1.CreateTableRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadChanges(ctx, &metadatav1.ReadChangesRequest{}); err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"ok GetTable": 2, "not_found GetTable": 1, "ok CreateTable": 1, "ok ReadChanges": 1}
	if got := labelled(t, c, "call_seconds", "method", "code"); !maps.Equal(got, want) {
		t.Fatalf("timed were %v, want %v", got, want)
	}
	if sum := testing.AllocsPerRun(100, func() { c.metrics.latency.of(&metadatav1.GetTableRequest{}).note(time.Now(), nil) }); sum > 1 { // the request
		t.Errorf("timing a call allocates %v times", sum)
	}
}

// A consumer counts while it runs, and what it has carried out and could not acknowledge.
func TestConsumersAreCounted(t *testing.T) {
	feed, c := startFeed(t, nil)
	feed.Append(schemaStream, 10)
	opts := fromTheBeginning()
	opts.BatchChanges, opts.AckInterval = 2, time.Hour
	got := newCatcher()
	running := 0.0
	err := c.Consume(soon(t), "audit", opts, func(ctx context.Context, batch []Delivery) error {
		running = labelled(t, c, "consumers")[""]
		if got.count() >= 6 { // a batch may be of one change
			if _, err := c.OpenConsumer(ctx, &metadatav1.OpenConsumerRequest{Name: "audit"}); err != nil {
				return err
			}
			return errEnough // what was carried out cannot be acknowledged any more
		}
		return got.take(batch)
	})
	if !errors.Is(err, errEnough) || running != 1 {
		t.Fatalf("%v consumers run: %v", running, err)
	}
	all := gathered(t, c)
	for name, want := range map[string]float64{
		"consumers": 0, "consumed_changes_total": float64(got.count()), "acknowledgements_failed_total": 1,
	} {
		if is := all["heliosmeta_client_"+name]; is != want {
			t.Errorf("%s: %v, want %v", name, is, want)
		}
	}
}

func TestTheCollectorSaysWhatCachesDo(t *testing.T) {
	c := newClient(t, "127.0.0.1:1")
	c.metrics.hits.add()
	c.metrics.hits.add()
	c.metrics.misses.add()
	c.metrics.reconnects.Add(3)
	c.metrics.retries.Add(4)
	c.metrics.hedges.Add(5)
	c.metrics.attempts.Add(6)
	c.metrics.lost.Add(7)
	got := gathered(t, c)
	for name, want := range map[string]float64{"cache_hits": 2, "cache_misses": 1, "reconnects": 3, "retries": 4, "hedges": 5, "reconnect_attempts": 6, "leases_lost": 7} {
		if is := got["heliosmeta_client_"+name+"_total"]; is != want {
			t.Errorf("%s: %v, want %v", name, is, want)
		}
	}
	const staleness = "heliosmeta_client_cache_staleness_seconds"
	if _, shown := got[staleness]; shown {
		t.Error("a client without caches has an oldest one")
	}
	young, old := showing(t, 1), showing(t, 1)
	young.begin, old.begin = time.Now(), time.Now().Add(-time.Hour)
	c.caches[young], c.caches[old] = struct{}{}, struct{}{}
	if s := gathered(t, c)[staleness]; s < 3600 || s > 3700 {
		t.Errorf("the oldest is %v seconds old", s)
	}
	c.endpoints[0].health.silent = true
	if all := labelled(t, c, "endpoints_avoided", "reason"); all["silent"] != 1 || all["foreign"] != 0 {
		t.Errorf("left out are %v", all)
	}
	c.endpoints[0].foreign.Store(new("another"))
	if all := labelled(t, c, "endpoints_avoided", "reason"); all["silent"] != 0 || all["foreign"] != 1 {
		t.Errorf("left out are %v", all)
	}
	// What the caches of a closed client would show grows old, and is nobody's any more.
	c.Close()
	openCache(t, c, CacheOptions{})
	if s, shown := gathered(t, c)[staleness]; shown {
		t.Errorf("the oldest cache of a closed client is %v seconds old", s)
	}
}

// Clients with names go into one registry, before they have anything to show.
func TestClientsAreToldApart(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	var clients []*Client
	for _, name := range []string{"tables", "nodes"} {
		c, err := New(Options{Endpoints: []string{"127.0.0.1:1"}, Name: name})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		clients = append(clients, c)
		if err := registry.Register(c.Collector()); err != nil {
			t.Fatal(err)
		}
	}
	clients[1].metrics.retries.Add(7)
	openCache(t, clients[0], CacheOptions{}) // it has a staleness from now on
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[f.GetName()+" of "+m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	if _, shown := got["heliosmeta_client_cache_staleness_seconds of nodes"]; shown {
		t.Error("a client has another one's cache")
	}
	if _, shown := got["heliosmeta_client_cache_staleness_seconds of tables"]; !shown {
		t.Error("a cache is not shown that came after its client was registered")
	}
	if a, b := got["heliosmeta_client_retries_total of tables"], got["heliosmeta_client_retries_total of nodes"]; a != 0 || b != 7 {
		t.Errorf("%v and %v retries", a, b)
	}
}

// An outage is many attempts, and one reconnection when it is over.
func TestAnOutageIsOneReconnection(t *testing.T) {
	var sessions atomic.Int64
	c := startPublishers(t, func(ctx context.Context, _ *metadatav1.SubscribeRequest, send func(frames.Frame) bool) error {
		if n := sessions.Add(1); n > 1 && n < 6 {
			return connect.NewError(connect.CodeUnavailable, errors.New("an outage"))
		} else if n == 1 {
			send(frames.Bookmark(frames.At(1, 5, 0)))
			return nil
		}
		return sends(ctx, send, frames.Bookmark(frames.At(1, 6, 0)))
	})
	for frame, err := range c.Watch(soon(t), &metadatav1.SubscribeRequest{}) {
		if err != nil {
			t.Fatal(err)
		}
		if frame.GetBookmark().GetPosition().GetSchemaRevision() == 6 {
			break
		}
	}
	if s := c.Stats(); s.Reconnects != 1 || s.ReconnectAttempts != 5 {
		t.Fatalf("counted %+v", s)
	}
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
