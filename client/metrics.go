package client

import (
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what a Client and its Caches do.
type metrics struct {
	hits, misses        stripes
	reconnects, retries atomic.Uint64
	hedges              atomic.Uint64
}

// stripes is a counter for what takes less time than two processors do to pass a counter
// to and fro: each goroutine has one of several, as a rule.
type stripes [16]struct {
	atomic.Uint64
	_ [120]byte // apart in the processors' caches, of which some fetch lines in pairs
}

// add counts one.
func (s *stripes) add() {
	// Goroutines have stacks of their own, in pieces of 2 KiB at least.
	var here byte
	s[uintptr(unsafe.Pointer(&here))>>11%uintptr(len(s))].Add(1)
}

// Load returns the sum.
func (s *stripes) Load() (sum uint64) {
	for i := range s {
		sum += s[i].Uint64.Load()
	}
	return sum
}

// Stats are counters since the client was made.
type Stats struct {
	CacheHits   uint64 // reads answered from a cache
	CacheMisses uint64 // reads that found no object in a cache
	Reconnects  uint64 // subscriptions that broke and were resumed
	Retries     uint64 // attempts of calls beyond the first
	Hedges      uint64 // reads that were made at a second endpoint besides
}

// Stats returns the counters.
func (c *Client) Stats() Stats {
	m := &c.metrics
	return Stats{m.hits.Load(), m.misses.Load(), m.reconnects.Load(), m.retries.Load(), m.hedges.Load()}
}

var (
	cacheHits = prometheus.NewDesc("heliosmeta_client_cache_hits_total",
		"Reads answered from the cache.", nil, nil)
	cacheMisses = prometheus.NewDesc("heliosmeta_client_cache_misses_total",
		"Reads that found no object in the cache.", nil, nil)
	reconnects = prometheus.NewDesc("heliosmeta_client_reconnects_total",
		"Subscriptions that broke and were resumed.", nil, nil)
	retries = prometheus.NewDesc("heliosmeta_client_retries_total",
		"Attempts of calls beyond the first.", nil, nil)
	hedges = prometheus.NewDesc("heliosmeta_client_hedges_total",
		"Reads that were made at a second endpoint besides.", nil, nil)
	cacheStaleness = prometheus.NewDesc("heliosmeta_client_cache_staleness_seconds",
		"How old what the oldest of the caches shows may be.", nil, nil)
)

// Collector exposes the client's counters to Prometheus, and the staleness of the oldest of
// its caches while there is one. The caches' hit rate is hits / (hits + misses).
func (c *Client) Collector() prometheus.Collector { return collector{c} }

type collector struct{ client *Client }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	m := &c.client.metrics
	for _, counter := range []struct {
		desc  *prometheus.Desc
		value interface{ Load() uint64 }
	}{
		{cacheHits, &m.hits}, {cacheMisses, &m.misses}, {reconnects, &m.reconnects}, {retries, &m.retries},
		{hedges, &m.hedges},
	} {
		ch <- prometheus.MustNewConstMetric(counter.desc, prometheus.CounterValue, float64(counter.value.Load()))
	}
	if oldest, ok := c.client.staleness(); ok {
		ch <- prometheus.MustNewConstMetric(cacheStaleness, prometheus.GaugeValue, oldest.Seconds())
	}
}

// staleness is that of the oldest of the client's caches; false: there is none.
func (c *Client) staleness() (oldest time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for cache := range c.caches {
		oldest = max(oldest, cache.Staleness())
	}
	return oldest, len(c.caches) > 0
}
