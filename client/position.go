package client

import (
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// streams are all streams.
var streams = [...]metadatav1.Stream{schemaStream, topologyStream}

const (
	schemaStream   = metadatav1.Stream_STREAM_SCHEMA
	topologyStream = metadatav1.Stream_STREAM_TOPOLOGY
)

// revisionOf returns a position's component for a stream.
func revisionOf(p *metadatav1.Position, s metadatav1.Stream) uint64 {
	switch s {
	case schemaStream:
		return p.GetSchemaRevision()
	case topologyStream:
		return p.GetTopologyRevision()
	}
	return 0
}

// setRevision sets a position's component for a stream.
func setRevision(p *metadatav1.Position, s metadatav1.Stream, revision uint64) {
	switch s {
	case schemaStream:
		p.SchemaRevision = revision
	case topologyStream:
		p.TopologyRevision = revision
	}
}
