package member

import (
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// snapshots gives the feed the published models in chunks.
type snapshots struct{ r *running }

// Snapshot implements feed.Snapshotter.
func (s snapshots) Snapshot(id metadatav1.Stream, filter *events.Filter) (feed.Snapshot, error) {
	switch id {
	case metadatav1.Stream_STREAM_SCHEMA:
		return SchemaSnapshot(s.r.schema.replica.View(), filter), nil
	case metadatav1.Stream_STREAM_TOPOLOGY:
		return TopologySnapshot(s.r.topology.replica.View(), filter), nil
	}
	return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_INTERNAL, "no snapshot of stream %v", id)
}

// SchemaSnapshot is a snapshot of a schema model, of the objects that match.
func SchemaSnapshot(state *projections.Schema, filter *events.Filter) feed.Snapshot {
	return &schemaSnapshot{state: state, filter: filter}
}

// TopologySnapshot is a snapshot of a topology model, of the objects that match.
func TopologySnapshot(state *projections.Topology, filter *events.Filter) feed.Snapshot {
	return &topologySnapshot{state: state, filter: filter}
}

// chunkOf begins a chunk.
func chunkOf(h projections.Head) *metadatav1.SnapshotChunk {
	return &metadatav1.SnapshotChunk{
		Stream: h.Stream, Revision: h.Revision, FeatureLevel: h.FeatureLevel, Digest: h.Digest[:],
	}
}

// room is what is left of a chunk. The chunk's own fields and the framing of its
// objects have their place outside it.
type room int

const chunkRoom room = feed.MaxFrameBytes - 16<<10

// take reports whether an object fits; the first one always does.
func (r *room) take(m proto.Message) bool {
	size := room(proto.Size(m) + 8)
	if size > *r && *r != chunkRoom {
		return false
	}
	*r -= size
	return true
}

// schemaSnapshot is a place in the schema model: namespaces by name, then tables
// by id.
type schemaSnapshot struct {
	state     *projections.Schema
	filter    *events.Filter
	namespace string // the next one
	tables    bool   // all namespaces are through
	table     uint64 // the next one
}

// Next implements feed.Snapshot.
func (s *schemaSnapshot) Next() (*metadatav1.SnapshotChunk, error) {
	chunk, left := chunkOf(s.state.Head), chunkRoom
	if !s.tables && !s.addNamespaces(chunk, &left) {
		return chunk, nil
	}
	s.tables = true
	chunk.Last = s.addTables(chunk, &left)
	return chunk, nil
}

// addNamespaces adds what fits; true when all are through.
func (s *schemaSnapshot) addNamespaces(chunk *metadatav1.SnapshotChunk, left *room) bool {
	for n := range s.state.Model.Namespaces(s.namespace) {
		m := n.Message()
		if !s.filter.Match(events.NamespaceSubject(m)) {
			continue
		}
		if !left.take(m) {
			s.namespace = n.Name()
			return false
		}
		chunk.Namespaces = append(chunk.Namespaces, m)
	}
	return true
}

func (s *schemaSnapshot) addTables(chunk *metadatav1.SnapshotChunk, left *room) bool {
	for t := range s.state.Model.TablesByID(s.table) {
		m := t.Message()
		if !s.filter.Match(events.TableSubject(m)) {
			continue
		}
		if !left.take(m) {
			s.table = t.ID()
			return false
		}
		chunk.Tables = append(chunk.Tables, m)
	}
	return true
}

// topologySnapshot is a place in the topology model: nodes by id, then shards by
// key.
type topologySnapshot struct {
	state  *projections.Topology
	filter *events.Filter
	node   string // the next one
	shards bool   // all nodes are through
	start  []byte // of the next shard
}

// Next implements feed.Snapshot.
func (s *topologySnapshot) Next() (*metadatav1.SnapshotChunk, error) {
	chunk, left := chunkOf(s.state.Head), chunkRoom
	if !s.shards && !s.addNodes(chunk, &left) {
		return chunk, nil
	}
	s.shards = true
	chunk.Last = s.addShards(chunk, &left)
	return chunk, nil
}

func (s *topologySnapshot) addNodes(chunk *metadatav1.SnapshotChunk, left *room) bool {
	for n := range s.state.Model.Nodes(s.node) {
		m := n.Message()
		if !s.filter.Match(events.NodeSubject(m)) {
			continue
		}
		if !left.take(m) {
			s.node = n.ID()
			return false
		}
		chunk.Nodes = append(chunk.Nodes, m)
	}
	return true
}

func (s *topologySnapshot) addShards(chunk *metadatav1.SnapshotChunk, left *room) bool {
	for sh := range s.state.Model.Shards(s.start) {
		m := sh.Message()
		if !s.filter.Match(events.ShardSubject(m)) {
			continue
		}
		if !left.take(m) {
			s.start = sh.Start()
			return false
		}
		chunk.Shards = append(chunk.Shards, m)
	}
	return true
}
