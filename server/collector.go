package server

import (
	"context"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/vitals"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// measure is one metric that is read off a stream's vitals.
type measure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(*vitals.Stream) float64
}

func gauge(name, help string, read func(*vitals.Stream) float64) measure {
	return measure{describeStream(name, help), prometheus.GaugeValue, read}
}

func counter(name, help string, read func(*vitals.Stream) float64) measure {
	return measure{describeStream(name, help), prometheus.CounterValue, read}
}

func describeStream(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, []string{"stream"}, nil)
}

func describe1(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, nil, nil)
}

var measures = []measure{
	gauge("raft_is_leader", "1 if this member leads the stream.", func(s *vitals.Stream) float64 {
		return truth(s.Role == metadatav1.Role_ROLE_LEADER)
	}),
	gauge("raft_has_leader", "1 if this member knows a leader of the stream.", func(s *vitals.Stream) float64 {
		return truth(s.Leader != 0)
	}),
	gauge("raft_leader_id", "Id of the leader that this member knows; 0: none.",
		func(s *vitals.Stream) float64 { return float64(s.Leader) }),
	gauge("raft_term", "Raft term.", func(s *vitals.Stream) float64 { return float64(s.Term) }),
	counter("raft_leader_changes_total", "Leader changes seen.",
		func(s *vitals.Stream) float64 { return float64(s.LeaderChanges) }),
	gauge("raft_committed_index", "Highest committed index.",
		func(s *vitals.Stream) float64 { return float64(s.CommittedIndex) }),
	gauge("raft_applied_index", "Index that the model has reached.",
		func(s *vitals.Stream) float64 { return float64(s.AppliedIndex) }),
	gauge("raft_log_entries", "Entries in the Raft log.", func(s *vitals.Stream) float64 {
		if s.LastIndex < s.FirstIndex {
			return 0
		}
		return float64(s.LastIndex - s.FirstIndex + 1)
	}),
	gauge("raft_log_bytes", "Bytes of the entries in the Raft log.",
		func(s *vitals.Stream) float64 { return float64(s.LogBytes) }),
	counter("fenced_entries_total", "Committed entries that the fence made this member skip.",
		func(s *vitals.Stream) float64 { return float64(s.FencedEntries) }),
	gauge("revision", "Revision of the published model.",
		func(s *vitals.Stream) float64 { return float64(s.Revision) }),
	gauge("oldest_revision", "Oldest revision in the history.",
		func(s *vitals.Stream) float64 { return float64(s.OldestRevision) }),
	gauge("feature_level", "Feature level of the stream.",
		func(s *vitals.Stream) float64 { return float64(s.FeatureLevel) }),
	counter("proposed_entries_total", "Log entries proposed by this member as leader.",
		func(s *vitals.Stream) float64 { return float64(s.ProposedEntries) }),
	counter("proposed_changes_total", "Changes proposed by this member as leader; over the entries: how many share one.",
		func(s *vitals.Stream) float64 { return float64(s.ProposedChanges) }),
	gauge("command_queue_depth", "Commands that wait for their outcome.",
		func(s *vitals.Stream) float64 { return float64(s.QueueDepth) }),
	counter("checkpoints_total", "Checkpoints written or installed.",
		func(s *vitals.Stream) float64 { return float64(s.Checkpoints) }),
	gauge("checkpoint_bytes", "Size of the newest checkpoint.",
		func(s *vitals.Stream) float64 { return float64(s.CheckpointBytes) }),
	gauge("checkpoint_last_duration_seconds", "Time that writing the newest checkpoint took.",
		func(s *vitals.Stream) float64 { return s.CheckpointTime.Seconds() }),
	gauge("checkpoint_revision", "Revision of the newest checkpoint.",
		func(s *vitals.Stream) float64 { return float64(s.CheckpointRevision) }),
	gauge("stream_subscribers", "Subscriptions that follow the stream.",
		func(s *vitals.Stream) float64 { return float64(s.Subscribers) }),
	gauge("subscriber_lag_changes", "Changes that the slowest subscription is behind.",
		func(s *vitals.Stream) float64 { return float64(s.SubscriberLag) }),
}

var (
	subscribersDesc = describe1("subscribers", "Open subscriptions.")
	storeBytesDesc  = describe1("store_bytes", "Bytes of the data directory.")
	freeBytesDesc   = describe1("store_free_bytes", "Free bytes of the file system below the data directory.")
	readyDesc       = describe1("ready", "1 if the member can serve.")
	quarantinedDesc = describe1("quarantined", "1 while the member takes part in nothing until it is rebuilt from the others.")
	// What the service stream holds is said by its leader alone: all members have the same.
	consumerLagDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, "", "consumer_lag_changes"),
		"Changes that a consumer has not acknowledged, on the leader of the service stream.", []string{"consumer", "stream"}, nil)
	signedDesc      = describeStream("signed_revision", "Newest revision whose head is signed, on the leader of the service stream.")
	divergencesDesc = describe1("checkpoint_divergences_total", "Checkpoints of members that were seen to differ at one revision. More than 0: corrupt memory, or a bug.")
)

// memberCollector reads a member's vitals on each scrape.
type memberCollector struct{ member Member }

// Describe is of prometheus.Collector.
func (c memberCollector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range measures {
		to <- m.desc
	}
	for _, d := range []*prometheus.Desc{subscribersDesc, storeBytesDesc, freeBytesDesc, readyDesc, quarantinedDesc, divergencesDesc, consumerLagDesc, signedDesc} {
		to <- d
	}
}

// Collect is of prometheus.Collector.
func (c memberCollector) Collect(to chan<- prometheus.Metric) {
	stats := c.member.Stats()
	for i := range stats.Streams {
		s := &stats.Streams[i]
		for _, m := range measures {
			to <- prometheus.MustNewConstMetric(m.desc, m.kind, m.read(s), events.StreamName(s.Stream))
		}
	}
	single := func(d *prometheus.Desc, v float64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	single(subscribersDesc, float64(stats.Subscribers))
	single(storeBytesDesc, float64(stats.StoreBytes))
	single(freeBytesDesc, float64(stats.FreeBytes))
	single(readyDesc, truth(c.member.Ready() == nil))
	single(quarantinedDesc, truth(stats.Quarantined))
	to <- prometheus.MustNewConstMetric(divergencesDesc, prometheus.CounterValue, float64(stats.Divergences))
	if slices.ContainsFunc(stats.Streams, func(s vitals.Stream) bool {
		return s.Stream == metadatav1.Stream_STREAM_SERVICE && s.Role == metadatav1.Role_ROLE_LEADER
	}) {
		c.collectService(to)
	}
}

// collectService reads the model of the service stream.
func (c memberCollector) collectService(to chan<- prometheus.Metric) {
	state, err := c.member.Service(context.Background(), local)
	if err != nil {
		return // it does not run any more
	}
	position := c.member.Position()
	for consumer := range state.Model.Consumers("") {
		lag := describeConsumer(state, consumer, position).GetLag()
		for stream, changes := range map[metadatav1.Stream]uint64{
			metadatav1.Stream_STREAM_SCHEMA: lag.GetSchemaChanges(), metadatav1.Stream_STREAM_TOPOLOGY: lag.GetTopologyChanges(),
		} {
			if consumer.Reads(stream) {
				to <- prometheus.MustNewConstMetric(consumerLagDesc, prometheus.GaugeValue, float64(changes), consumer.Name(), events.StreamName(stream))
			}
		}
	}
	for number := range metadatav1.Stream_name {
		if head, ok := state.Model.NewestSignedHead(metadatav1.Stream(number)); ok {
			to <- prometheus.MustNewConstMetric(signedDesc, prometheus.GaugeValue, float64(head.Revision()), events.StreamName(head.Stream()))
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
