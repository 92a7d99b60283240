package client

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what a Client and its Caches do.
type metrics struct {
	hits, misses, reconnects, retries atomic.Uint64
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
)

// Collector exposes the client's counters to Prometheus. The cache's hit rate is
// hits / (hits + misses).
func (c *Client) Collector() prometheus.Collector { return collector{c} }

type collector struct{ client *Client }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	m := &c.client.metrics
	for _, counter := range []struct {
		desc  *prometheus.Desc
		value *atomic.Uint64
	}{
		{cacheHits, &m.hits}, {cacheMisses, &m.misses}, {reconnects, &m.reconnects}, {retries, &m.retries},
	} {
		ch <- prometheus.MustNewConstMetric(counter.desc, prometheus.CounterValue, float64(counter.value.Load()))
	}
}
