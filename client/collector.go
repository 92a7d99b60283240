package client

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metricPrefix begins the names of all metrics.
const metricPrefix = "heliosmeta_client_"

// collector shows a client to Prometheus.
type collector struct {
	client   *Client
	counters []counter
	// What is held at the moment.
	staleness, avoided, epoch, consumers *prometheus.Desc
}

// counter is one of the client's counters.
type counter struct {
	desc  *prometheus.Desc
	value interface{ Load() uint64 }
}

// Collector exposes the client's counters to Prometheus, how long its calls took, the staleness of
// the oldest of its caches and the lease of each of its sessions while there are any, how many consumers run, and how many endpoints
// are left out and why. All have the label "client", Options.Name: of several clients in one registry
// each needs another one. The caches' hit rate is hits / (hits + misses).
func (c *Client) Collector() prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(metricPrefix+name, help, labels, prometheus.Labels{"client": c.opts.Name})
	}
	m := &c.metrics
	return &collector{
		client: c,
		counters: []counter{
			{desc("cache_hits_total", "Reads answered from the cache."), &m.hits},
			{desc("cache_misses_total", "Reads that found no object in the cache."), &m.misses},
			{desc("reconnects_total", "Subscriptions that broke and were resumed."), &m.reconnects},
			{desc("reconnect_attempts_total", "Attempts at a subscription that broke, or failed to begin."), &m.attempts},
			{desc("retries_total", "Attempts of calls beyond the first."), &m.retries},
			{desc("hedges_total", "Reads that were made at a second endpoint besides."), &m.hedges},
			{desc("leases_lost_total", "Leases of nodes that ended, or were given up."), &m.lost},
			{desc("consumed_changes_total", "Changes that consumers have carried out."), &m.handled},
			{desc("acknowledgements_failed_total", "Positions of consumers that were not acknowledged when they should have been."), &m.unacked},
		},
		staleness: desc("cache_staleness_seconds", "How old what the oldest of the caches shows may be."),
		avoided:   desc("endpoints_avoided", "Endpoints that are left out: silent, or foreign, which is of another cluster.", "reason"),
		epoch:     desc("session_epoch", "The epoch under which a node holds its lease; 0: it holds none.", "node"),
		consumers: desc("consumers", "Consumers that run in this process."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, one := range c.counters {
		ch <- one.desc
	}
	ch <- c.staleness
	ch <- c.avoided
	ch <- c.epoch
	ch <- c.consumers
	c.client.metrics.latency.all.Describe(ch)
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for _, one := range c.counters {
		ch <- prometheus.MustNewConstMetric(one.desc, prometheus.CounterValue, float64(one.value.Load()))
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	if oldest, ok := c.client.staleness(); ok {
		gauge(c.staleness, oldest.Seconds())
	}
	silent, foreign := 0, 0
	for _, e := range c.client.endpoints {
		switch {
		case e.foreign.Load() != nil:
			foreign++
		case e.health.isSilent():
			silent++
		}
	}
	gauge(c.avoided, float64(silent), "silent")
	gauge(c.avoided, float64(foreign), "foreign")
	gauge(c.consumers, float64(c.client.metrics.consumers.Load()))
	c.client.metrics.latency.all.Collect(ch)
	for node, epoch := range c.client.epochs() {
		gauge(c.epoch, float64(epoch), node)
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

// epochs are those that the client's nodes may act under, by node.
func (c *Client) epochs() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]uint64)
	for s := range c.sessions {
		id := s.options.Node.GetNodeId()
		all[id] = max(all[id], s.Epoch())
	}
	return all
}
