package server

import (
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/vitals"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const namespace = "heliosmeta"

// Metrics are the metrics of one process, in a registry of their own. A Metrics
// is a vitals.Observer: hand it to the member, and then to New. How often
// clients answer from their cache is measured by the clients themselves.
type Metrics struct {
	registry *prometheus.Registry

	running  *prometheus.GaugeVec
	handled  *prometheus.CounterVec
	duration *prometheus.HistogramVec
	sent     *prometheus.CounterVec
	refused  *prometheus.CounterVec
	panics   prometheus.Counter

	proposal        *prometheus.HistogramVec
	proposals       *prometheus.CounterVec
	checkpoint      *prometheus.HistogramVec
	checkpointBytes *prometheus.HistogramVec
	storeWrite      prometheus.Histogram
	storeWrites     prometheus.Histogram

	// Finding a series by its labels takes a lock and hashes; a call would do it five times.
	rpcs    sync.Map // of *rpcSeries, by procedure
	streams map[metadatav1.Stream]proposalSeries
}

// rpcSeries are the series of an rpc that each of its calls touches.
type rpcSeries struct {
	running  prometheus.Gauge
	ok       prometheus.Counter
	duration prometheus.Observer // nil for streams
}

// proposalSeries are those that each change of a stream touches.
type proposalSeries struct {
	outcomes map[vitals.Outcome]prometheus.Counter
	duration prometheus.Observer
}

// of returns the series of an rpc.
func (m *Metrics) of(spec connect.Spec) *rpcSeries {
	if known, ok := m.rpcs.Load(spec.Procedure); ok {
		return known.(*rpcSeries)
	}
	series := &rpcSeries{
		running: m.running.WithLabelValues(spec.Procedure),
		ok:      m.handled.WithLabelValues(spec.Procedure, codeName(nil)),
	}
	if spec.StreamType == connect.StreamTypeUnary {
		series.duration = m.duration.WithLabelValues(spec.Procedure)
	}
	known, _ := m.rpcs.LoadOrStore(spec.Procedure, series)
	return known.(*rpcSeries)
}

var _ vitals.Observer = (*Metrics)(nil)

// latencies are the bounds in seconds from 0.1 ms to 26 s.
var latencies = prometheus.ExponentialBuckets(0.0001, 2, 19)

// NewMetrics returns metrics that nothing has happened to.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		running:  gaugeVec("rpc_in_progress", "Calls in progress.", "rpc"),
		handled:  counterVec("rpc_handled_total", "Calls that ended, by status code.", "rpc", "code"),
		duration: histogramVec("rpc_duration_seconds", "Time that unary calls took.", latencies, "rpc"),
		sent:     counterVec("rpc_stream_messages_sent_total", "Messages sent on streams.", "rpc"),
		refused:  counterVec("rpc_refused_total", "Calls refused before their message was read.", "rpc", "reason"),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "rpc_panics_total", Help: "Handlers that panicked. Each is a bug.",
		}),
		proposal: histogramVec("proposal_duration_seconds",
			"Time from a command's arrival to its change's outcome, on the leader.", latencies, "stream"),
		proposals: counterVec("proposals_total", "Changes proposed, by outcome, on the leader.", "stream", "outcome"),
		checkpoint: histogramVec("checkpoint_duration_seconds", "Time that writing a checkpoint took.",
			prometheus.ExponentialBuckets(0.001, 2, 18), "stream"),
		checkpointBytes: histogramVec("checkpoint_written_bytes", "Sizes of checkpoints written.",
			prometheus.ExponentialBuckets(1<<10, 4, 12), "stream"),
		storeWrite: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "store_write_duration_seconds",
			Help: "Time that one synced storage write took.", Buckets: latencies,
		}),
		storeWrites: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "store_write_size",
			Help: "Group writes that shared one sync.", Buckets: prometheus.ExponentialBuckets(1, 2, 8),
		}),
	}
	// Series that alerts are made of exist before the first proposal.
	m.streams = make(map[metadatav1.Stream]proposalSeries)
	for _, s := range []metadatav1.Stream{metadatav1.Stream_STREAM_SCHEMA, metadatav1.Stream_STREAM_TOPOLOGY, metadatav1.Stream_STREAM_SERVICE} {
		name := events.StreamName(s)
		m.checkpoint.WithLabelValues(name)
		m.streams[s] = proposalSeries{duration: m.proposal.WithLabelValues(name), outcomes: map[vitals.Outcome]prometheus.Counter{
			vitals.Committed: m.proposals.WithLabelValues(name, string(vitals.Committed)),
			vitals.Unknown:   m.proposals.WithLabelValues(name, string(vitals.Unknown)),
		}}
	}
	m.registry.MustRegister(
		m.running, m.handled, m.duration, m.sent, m.refused, m.panics,
		m.proposal, m.proposals, m.checkpoint, m.checkpointBytes,
		m.storeWrite, m.storeWrites,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Registry returns the registry, so that others may add theirs to /metrics.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Proposal is of vitals.Observer.
func (m *Metrics) Proposal(stream metadatav1.Stream, took time.Duration, outcome vitals.Outcome) {
	series := m.streams[stream]
	series.outcomes[outcome].Inc()
	series.duration.Observe(took.Seconds())
}

// Checkpoint is of vitals.Observer.
func (m *Metrics) Checkpoint(stream metadatav1.Stream, took time.Duration, bytes uint64) {
	m.checkpoint.WithLabelValues(events.StreamName(stream)).Observe(took.Seconds())
	m.checkpointBytes.WithLabelValues(events.StreamName(stream)).Observe(float64(bytes))
}

// StoreWrite is of vitals.Observer.
func (m *Metrics) StoreWrite(took time.Duration, writes int) {
	m.storeWrite.Observe(took.Seconds())
	m.storeWrites.Observe(float64(writes))
}

func gaugeVec(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func histogramVec(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, Buckets: buckets,
	}, labels)
}
