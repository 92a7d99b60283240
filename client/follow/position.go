package follow

import metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"

// Streams are all streams.
var Streams = [...]metadatav1.Stream{schemaStream, topologyStream}

const (
	schemaStream   = metadatav1.Stream_STREAM_SCHEMA
	topologyStream = metadatav1.Stream_STREAM_TOPOLOGY
)

// RevisionOf returns a position's component for a stream.
func RevisionOf(p *metadatav1.Position, s metadatav1.Stream) uint64 {
	switch s {
	case schemaStream:
		return p.GetSchemaRevision()
	case topologyStream:
		return p.GetTopologyRevision()
	}
	return 0
}

// SetRevision sets a position's component for a stream.
func SetRevision(p *metadatav1.Position, s metadatav1.Stream, revision uint64) {
	switch s {
	case schemaStream:
		p.SchemaRevision = revision
	case topologyStream:
		p.TopologyRevision = revision
	}
}
