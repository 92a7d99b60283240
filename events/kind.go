package events

import (
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// kindShardSplit is the one kind with several objects.
const kindShardSplit protowire.Number = 33

// kinds says for each field number of Event whether it is a kind. It is read
// only, computed once from the contract.
var kinds = func() (known [100]bool) {
	fields := (*metadatav1.Event)(nil).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range fields.Len() {
		known[fields.Get(i).Number()] = true
	}
	return known
}()

func knownKind(num protoreflect.FieldNumber) bool {
	return num > 0 && int(num) < len(kinds) && kinds[num]
}

// StreamOf returns the stream that an event belongs to; UNSPECIFIED if the
// event has no kind.
func StreamOf(e *metadatav1.Event) metadatav1.Stream {
	switch e.GetKind().(type) {
	case *metadatav1.Event_NamespaceCreated, *metadatav1.Event_NamespaceDropped,
		*metadatav1.Event_TableCreated, *metadatav1.Event_TableAltered, *metadatav1.Event_TableDropped:
		return metadatav1.Stream_STREAM_SCHEMA
	case *metadatav1.Event_NodeRegistered, *metadatav1.Event_NodeUnregistered,
		*metadatav1.Event_NodeCameOnline, *metadatav1.Event_NodeWentOffline,
		*metadatav1.Event_NodeDrained, *metadatav1.Event_NodeDrainCancelled,
		*metadatav1.Event_ShardCreated, *metadatav1.Event_ShardChanged, *metadatav1.Event_ShardMoved,
		*metadatav1.Event_ShardSplit, *metadatav1.Event_ShardsMerged, *metadatav1.Event_ShardDeleted:
		return metadatav1.Stream_STREAM_TOPOLOGY
	}
	return metadatav1.Stream_STREAM_UNSPECIFIED
}
