package consistency

import (
	"time"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Truth is what happened: the complete histories, as read from a member's store
// when all members agreed.
type Truth struct {
	Schema, Topology, Service []*events.Change
	// Cluster is the cluster's id. The zero value is not compared with anything.
	Cluster events.ClusterID
	// Committed says when a revision was first applied by any member: no reader can
	// have seen it earlier. Nil: nobody knows; then it is bounded by when its writer
	// began and when somebody had seen it.
	Committed func(stream metadatav1.Stream, revision uint64) (time.Duration, bool)
	// Decided says when the leader decided a change, on the clock of the run. Nil: as
	// Committed. It is what leases are judged by.
	Decided func(change *events.Change) (time.Duration, bool)
	// Patience is how long the search for an order of operations may take for each
	// group of objects. 0, which alone is deterministic: as long as it takes.
	Patience time.Duration
}

// The streams, in the order in which they are judged.
var streams = [...]metadatav1.Stream{schemaStream, topologyStream, serviceStream}

// positioned are the streams that positions cover and subscriptions follow.
var positioned = streams[:2]

const (
	schemaStream   = metadatav1.Stream_STREAM_SCHEMA
	topologyStream = metadatav1.Stream_STREAM_TOPOLOGY
	serviceStream  = metadatav1.Stream_STREAM_SERVICE
)

// changes returns the history of a stream.
func (t Truth) changes(s metadatav1.Stream) []*events.Change {
	switch s {
	case schemaStream:
		return t.Schema
	case topologyStream:
		return t.Topology
	}
	return t.Service
}
