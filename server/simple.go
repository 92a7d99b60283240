package server

import (
	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// The rules of the contract for what busy members check, again.
const (
	maxSimpleDepth   = 8    // how deep the types of a simple table nest
	maxMoreBeats     = 255  // StreamHeartbeatsRequest.more
	maxNodeIDBytes   = 128  // HeartbeatRequest.node_id
	maxClusterIDSize = 32   // Position.cluster_id, in characters, of which each has a byte at least
	maxCalls         = 1024 // PipelineRequest.calls, and .cancelled
	maxMethodBytes   = 64   // PipelineCall.method
)

// simple reports whether a message certainly keeps the rules of the contract. It knows
// the messages that busy members check: beats, calls, and those that carry new tables or
// ask for one. The validator takes 10 us for a table of ten columns, this takes a fortieth.
// Whatever is not simple goes to the validator, which alone says what is wrong. Tests hold
// both against each other.
func simple(m proto.Message) bool {
	switch m := m.(type) {
	case *metadatav1.GetTableRequest:
		return m.GetTable() != nil && len(m.GetTable().GetNamespace()) <= 128 && len(m.GetTable().GetName()) <= 128 &&
			simpleRead(m.GetRead())
	case *metadatav1.StreamHeartbeatsRequest:
		return simpleBeat(m.GetHeartbeat()) && len(m.GetMore()) <= maxMoreBeats && all(m.GetMore(), simpleBeat)
	case *metadatav1.PipelineRequest:
		return len(m.GetCalls()) <= maxCalls && len(m.GetCancelled()) <= maxCalls && all(m.GetCalls(), simpleCall)
	case *metadatav1.CreateTableRequest:
		return simpleCreation(m)
	case *metadatav1.ApplyBatchRequest:
		if len(m.GetCommands()) < 1 || len(m.GetCommands()) > 10_000 || !simpleOptions(m.GetWrite()) {
			return false
		}
		for _, c := range m.GetCommands() {
			create := c.GetCreateTable()
			if create == nil || !simpleCreation(create) {
				return false
			}
		}
		return true
	}
	return false
}

func all[M any](messages []M, simple func(M) bool) bool {
	for _, m := range messages {
		if !simple(m) {
			return false
		}
	}
	return true
}

func simpleCall(c *metadatav1.PipelineCall) bool {
	n := len(c.GetMethod())
	return n > 0 && n <= maxMethodBytes
}

func simpleBeat(b *metadatav1.HeartbeatRequest) bool {
	n := len(b.GetNodeId())
	return n > 0 && n <= maxNodeIDBytes && b.GetEpoch() > 0 &&
		len(b.GetAcknowledged().GetClusterId()) <= maxClusterIDSize
}

func simpleCreation(m *metadatav1.CreateTableRequest) bool {
	return m.GetTable() != nil && simpleTable(m.GetTable()) && simpleOptions(m.GetWrite())
}

func simpleOptions(o *metadatav1.WriteOptions) bool { return len(o.GetRequestId()) <= 128 }

func simpleRead(o *metadatav1.ReadOptions) bool {
	_, known := metadatav1.Consistency_name[int32(o.GetConsistency())]
	return known && len(o.GetAtLeast().GetClusterId()) <= maxClusterIDSize
}

func simpleTable(t *metadatav1.TableSchema) bool {
	if len(t.Namespace) > 128 || !shortName(t.Name) || !shortText(t.Comment) || len(t.Properties) > 64 ||
		len(t.PrimaryKey) > 32 || len(t.Columns) < 1 || len(t.Columns) > 1600 {
		return false
	}
	for _, name := range t.PrimaryKey {
		if !shortName(name) {
			return false
		}
	}
	for _, c := range t.Columns {
		if c == nil || !simpleColumn(c) {
			return false
		}
	}
	return true
}

func simpleColumn(c *metadatav1.ColumnSchema) bool {
	_, known := metadatav1.ToastStrategy_name[int32(c.ToastStrategy)]
	return known && shortName(c.Name) && simpleType(c.DataType, 1) && shortText(c.GetDefault()) && shortText(c.Comment)
}

func simpleType(t *metadatav1.DataType, depth int) bool {
	if t == nil || t.Kind == 0 || depth > maxSimpleDepth || len(t.Fields) > 256 {
		return false
	}
	if _, known := metadatav1.TypeKind_name[int32(t.Kind)]; !known {
		return false
	}
	if t.Element != nil && !simpleType(t.Element, depth+1) || t.Key != nil && !simpleType(t.Key, depth+1) {
		return false
	}
	for _, f := range t.Fields {
		if f == nil || !shortName(f.Name) || !simpleType(f.DataType, depth+1) {
			return false
		}
	}
	return true
}

func shortName(name string) bool { return name != "" && len(name) <= 128 }
func shortText(text string) bool { return len(text) <= 4096 }
