package events

import (
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// Kind is what kind of event something is: the number of its field in the message
// Event.
type Kind uint8

// The kinds of events.
const (
	KindNamespaceCreated   Kind = 1
	KindNamespaceDropped   Kind = 2
	KindTableCreated       Kind = 3
	KindTableAltered       Kind = 4
	KindTableDropped       Kind = 5
	KindNodeRegistered     Kind = 20
	KindNodeUnregistered   Kind = 21
	KindNodeCameOnline     Kind = 22
	KindNodeWentOffline    Kind = 23
	KindNodeDrained        Kind = 24
	KindNodeDrainCancelled Kind = 25
	KindShardCreated       Kind = 30
	KindShardChanged       Kind = 31
	KindShardMoved         Kind = 32
	KindShardSplit         Kind = 33
	KindShardsMerged       Kind = 34
	KindShardDeleted       Kind = 35

	KindConsumerCreated      Kind = 40
	KindConsumerOpened       Kind = 41
	KindConsumerAcknowledged Kind = 42
	KindConsumerDeleted      Kind = 43
	KindHeadSigned           Kind = 44
	KindHistoryTrimmed       Kind = 45
)

// oneof is the field of Event that holds its kind.
var oneof = (*metadatav1.Event)(nil).ProtoReflect().Descriptor().Oneofs().ByName("kind")

// kinds holds the name of each field number of Event that is a kind. It is read
// only, computed once from the contract.
var kinds = func() (names [256]string) {
	for i := range oneof.Fields().Len() {
		f := oneof.Fields().Get(i)
		names[f.Number()] = string(f.Message().Name())
	}
	return names
}()

func knownKind(num protowire.Number) bool {
	return num > 0 && int(num) < len(kinds) && kinds[num] != ""
}

// String returns the kind's name, such as "TableCreated".
func (k Kind) String() string { return kinds[k] }

// Stream returns the stream that events of the kind belong to; UNSPECIFIED if there
// is no such kind.
func (k Kind) Stream() metadatav1.Stream {
	switch k {
	case KindNamespaceCreated, KindNamespaceDropped, KindTableCreated, KindTableAltered, KindTableDropped:
		return metadatav1.Stream_STREAM_SCHEMA
	case KindNodeRegistered, KindNodeUnregistered, KindNodeCameOnline, KindNodeWentOffline, KindNodeDrained, KindNodeDrainCancelled,
		KindShardCreated, KindShardChanged, KindShardMoved, KindShardSplit, KindShardsMerged, KindShardDeleted:
		return metadatav1.Stream_STREAM_TOPOLOGY
	case KindConsumerCreated, KindConsumerOpened, KindConsumerAcknowledged, KindConsumerDeleted, KindHeadSigned, KindHistoryTrimmed:
		return metadatav1.Stream_STREAM_SERVICE
	}
	return metadatav1.Stream_STREAM_UNSPECIFIED
}

// AboutNode reports whether events of the kind are about a node.
func (k Kind) AboutNode() bool {
	switch k {
	case KindNodeRegistered, KindNodeUnregistered, KindNodeCameOnline, KindNodeWentOffline, KindNodeDrained, KindNodeDrainCancelled:
		return true
	}
	return false
}

// replaces reports whether field 2 of the kind's message holds what its objects
// replace.
func (k Kind) replaces() bool {
	switch k {
	case KindShardChanged, KindShardMoved, KindShardSplit, KindShardsMerged:
		return true
	}
	return false
}

// KindOf returns an event's kind; 0 if it has none.
func KindOf(e *metadatav1.Event) Kind {
	if f := e.ProtoReflect().WhichOneof(oneof); f != nil {
		return Kind(f.Number())
	}
	return 0
}

// StreamOf returns the stream that an event belongs to; UNSPECIFIED if the
// event has no kind.
func StreamOf(e *metadatav1.Event) metadatav1.Stream { return KindOf(e).Stream() }
