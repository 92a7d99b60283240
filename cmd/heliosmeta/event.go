package main

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/heliosdb/metadata/internal/keytext"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// describeEvent is an event on one line: its kind and what it is about.
func describeEvent(e *metadatav1.Event) string {
	kind := e.ProtoReflect().WhichOneof(e.ProtoReflect().Descriptor().Oneofs().ByName("kind"))
	if kind == nil {
		return "unknown event: this program is older than the service"
	}
	about := e.ProtoReflect().Get(kind).Message().Interface()
	return strings.ReplaceAll(string(kind.Name()), "_", "-") + " " + describeFact(about)
}

// describeFact says what an event is about. By contract the object is field 1.
func describeFact(fact proto.Message) string {
	switch f := fact.(type) {
	case *metadatav1.TableAltered:
		text := describeObject(f.GetTable())
		if f.GetPreviousName() != f.GetTable().GetName() || f.GetPreviousNamespace() != f.GetTable().GetNamespace() {
			text += ", was " + f.GetPreviousNamespace() + "." + f.GetPreviousName()
		}
		return text
	case *metadatav1.ShardSplit:
		return "shard " + fmt.Sprint(f.GetParent().GetShardId()) + " into " + describeShards(f.GetChildren())
	case *metadatav1.ShardsMerged:
		return describeShards(f.GetParents()) + " into " + describeObject(f.GetShard())
	case *metadatav1.HistoryTrimmed:
		text := describeObject(f.GetFloor())
		if passed := f.GetPassedConsumers(); len(passed) > 0 {
			text += ", passing consumers " + strings.Join(passed, ", ")
		}
		return text
	}
	field := fact.ProtoReflect().Descriptor().Fields().ByNumber(1)
	if field == nil || field.Kind() != protoreflect.MessageKind || field.IsList() {
		return ""
	}
	return describeObject(fact.ProtoReflect().Get(field).Message().Interface())
}

func describeShards(shards []*metadatav1.ShardInfo) string {
	texts := make([]string, len(shards))
	for i, s := range shards {
		texts[i] = describeObject(s)
	}
	return strings.Join(texts, " and ")
}

// describeObject names an object on one line.
func describeObject(m proto.Message) string {
	switch o := m.(type) {
	case *metadatav1.Namespace:
		return fmt.Sprintf("namespace %s (id %d)", o.GetName(), o.GetNamespaceId())
	case *metadatav1.TableSchema:
		return fmt.Sprintf("table %s (id %d, version %d, columns: %d)", tableName(o), o.GetTableId(), o.GetVersion(), len(o.GetColumns()))
	case *metadatav1.NodeInfo:
		return fmt.Sprintf("node %s (%s at %s, %s, epoch %d)", o.GetNodeId(), nodeTypeName(o), o.GetAddr(), nodeStatusName(o), o.GetEpoch())
	case *metadatav1.ShardInfo:
		return fmt.Sprintf("shard %d %s on %s (epoch %d, version %d)", o.GetShardId(), keytext.Range(o.GetKeyRange()), placement(o), o.GetEpoch(), o.GetVersion())
	case *metadatav1.Consumer:
		return fmt.Sprintf("consumer %s (at %s, epoch %d)", o.GetName(), showPosition(o.GetPosition()), o.GetEpoch())
	case *metadatav1.SignedHead:
		return fmt.Sprintf("head of %s at revision %d (key %x)", streamName(o.GetStream()), o.GetRevision(), o.GetKeyId())
	case *metadatav1.HistoryFloor:
		return fmt.Sprintf("history of %s from revision %d on", streamName(o.GetStream()), o.GetOldestRevision())
	}
	return string(m.ProtoReflect().Descriptor().Name())
}

func tableName(t *metadatav1.TableSchema) string { return t.GetNamespace() + "." + t.GetName() }

func nodeTypeName(n *metadatav1.NodeInfo) string {
	return strings.TrimPrefix(n.GetNodeType().String(), "NODE_TYPE_")
}

func nodeStatusName(n *metadatav1.NodeInfo) string {
	return strings.TrimPrefix(n.GetStatus().String(), "NODE_STATUS_")
}

// placement is primary, mirror and witness; those that there are not are left out.
func placement(s *metadatav1.ShardInfo) string {
	text := s.GetPrimaryNode()
	if s.GetMirrorNode() != "" {
		text += ", mirror " + s.GetMirrorNode()
	}
	if s.GetWitnessNode() != "" {
		text += ", witness " + s.GetWitnessNode()
	}
	return text
}

func streamName(s metadatav1.Stream) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "STREAM_"))
}
