package commands

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/topology"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// answer builds the response to a command from the events that it caused; if it
// caused none, from the object that it left unchanged.
func answer(cmd proto.Message, evs []events.Event, unchanged proto.Message, result *metadatav1.WriteResult) proto.Message {
	var e *metadatav1.Event
	if len(evs) > 0 {
		e = evs[0].Message()
	}
	switch c := cmd.(type) {
	case *metadatav1.CreateNamespaceRequest:
		return &metadatav1.CreateNamespaceResponse{Namespace: e.GetNamespaceCreated().GetNamespace(), Result: result}
	case *metadatav1.DropNamespaceRequest:
		return &metadatav1.DropNamespaceResponse{Namespace: e.GetNamespaceDropped().GetNamespace(), Result: result}
	case *metadatav1.CreateTableRequest:
		return &metadatav1.CreateTableResponse{Table: e.GetTableCreated().GetTable(), Result: result}
	case *metadatav1.AlterTableRequest:
		return &metadatav1.AlterTableResponse{Table: or(e.GetTableAltered().GetTable(), unchanged), Result: result}
	case *metadatav1.DropTableRequest:
		return &metadatav1.DropTableResponse{Table: e.GetTableDropped().GetTable(), Result: result}
	case *metadatav1.RegisterNodeRequest:
		return &metadatav1.RegisterNodeResponse{Node: or(events.NodeOf(e), unchanged), Result: result}
	case *metadatav1.UnregisterNodeRequest:
		return &metadatav1.UnregisterNodeResponse{Node: events.NodeOf(e), Result: result}
	case *metadatav1.DrainNodeRequest:
		return &metadatav1.DrainNodeResponse{Node: or(events.NodeOf(e), unchanged), Result: result}
	case *metadatav1.UpdateShardMapRequest:
		shards, removed := shardsOf(evs)
		return &metadatav1.UpdateShardMapResponse{Shards: shards, RemovedShardIds: removed, Result: result}
	case *metadatav1.CreateConsumerRequest:
		return &metadatav1.CreateConsumerResponse{Consumer: events.ConsumerOf(e), Result: result}
	case *metadatav1.OpenConsumerRequest:
		return &metadatav1.OpenConsumerResponse{Consumer: events.ConsumerOf(e), Result: result}
	case *metadatav1.AcknowledgeConsumerRequest:
		return &metadatav1.AcknowledgeConsumerResponse{Consumer: or(events.ConsumerOf(e), unchanged), Result: result}
	case *metadatav1.DeleteConsumerRequest:
		return &metadatav1.DeleteConsumerResponse{Consumer: events.ConsumerOf(e), Result: result}
	case *metadatav1.ApplyBatchRequest:
		return &metadatav1.ApplyBatchResponse{Results: batchResults(len(c.GetCommands()), evs), Result: result}
	}
	return result
}

func or[T any, M interface {
	*T
	proto.Message
}](made M, unchanged proto.Message) M {
	if made != nil {
		return made
	}
	m, _ := unchanged.(M)
	return m
}

// shardsOf returns the shards that events left created or changed, by key, and
// the ids of those that they removed, in order.
func shardsOf(evs []events.Event) (left []*metadatav1.ShardInfo, removed []uint64) {
	byID := make(map[uint64]*metadatav1.ShardInfo)
	remove := func(s *metadatav1.ShardInfo) {
		delete(byID, s.GetShardId())
		removed = append(removed, s.GetShardId())
	}
	for _, e := range evs {
		made, gone := shardsOfEvent(e.Message())
		for _, s := range gone {
			remove(s)
		}
		for _, s := range made {
			byID[s.GetShardId()] = s
		}
	}
	left = slices.SortedFunc(maps.Values(byID), func(a, b *metadatav1.ShardInfo) int {
		return cmp.Or(bytes.Compare(a.GetKeyRange().GetStart(), b.GetKeyRange().GetStart()), cmp.Compare(a.GetShardId(), b.GetShardId()))
	})
	return left, removed
}

// shardsOfEvent returns the shards that an event made what they are, and those
// that it removed, as they were.
func shardsOfEvent(e *metadatav1.Event) (made, gone []*metadatav1.ShardInfo) {
	switch k := e.GetKind().(type) {
	case *metadatav1.Event_ShardCreated:
		return []*metadatav1.ShardInfo{k.ShardCreated.GetShard()}, nil
	case *metadatav1.Event_ShardChanged:
		return []*metadatav1.ShardInfo{k.ShardChanged.GetShard()}, nil
	case *metadatav1.Event_ShardMoved:
		return []*metadatav1.ShardInfo{k.ShardMoved.GetShard()}, nil
	case *metadatav1.Event_ShardSplit:
		return k.ShardSplit.GetChildren(), []*metadatav1.ShardInfo{k.ShardSplit.GetParent()}
	case *metadatav1.Event_ShardsMerged:
		return []*metadatav1.ShardInfo{k.ShardsMerged.GetShard()}, k.ShardsMerged.GetParents()
	case *metadatav1.Event_ShardDeleted:
		return nil, []*metadatav1.ShardInfo{k.ShardDeleted.GetShard()}
	}
	return nil, nil
}

// batchResults returns what each of n commands made.
func batchResults(n int, evs []events.Event) []*metadatav1.CommandResult {
	results := make([]*metadatav1.CommandResult, n)
	all := make([]metadatav1.CommandResult, n) // one allocation instead of n
	for i := range results {
		results[i] = &all[i]
	}
	for _, e := range evs {
		if at := e.Message().GetCommand(); int(at) < n {
			made := objectsOf(e.Message())
			if results[at].Objects != nil {
				made = append(results[at].Objects, made...)
			}
			results[at].Objects = made
		}
	}
	return results
}

func objectsOf(e *metadatav1.Event) []*metadatav1.ObjectVersion {
	switch k := e.GetKind().(type) {
	case *metadatav1.Event_NamespaceCreated:
		return namespaceVersion(k.NamespaceCreated.GetNamespace(), false)
	case *metadatav1.Event_NamespaceDropped:
		return namespaceVersion(k.NamespaceDropped.GetNamespace(), true)
	case *metadatav1.Event_TableCreated:
		return tableVersion(k.TableCreated.GetTable(), false)
	case *metadatav1.Event_TableAltered:
		return tableVersion(k.TableAltered.GetTable(), false)
	case *metadatav1.Event_TableDropped:
		return tableVersion(k.TableDropped.GetTable(), true)
	}
	if n := events.NodeOf(e); n != nil {
		return []*metadatav1.ObjectVersion{{
			Kind:    metadatav1.ObjectKind_OBJECT_KIND_NODE,
			Name:    n.GetNodeId(),
			Version: n.GetEpoch(),
			Removed: e.GetNodeUnregistered() != nil,
		}}
	}
	made, gone := shardsOfEvent(e)
	var objects []*metadatav1.ObjectVersion
	for _, s := range made {
		objects = append(objects, shardVersion(s, false))
	}
	for _, s := range gone {
		objects = append(objects, shardVersion(s, true))
	}
	return objects
}

func namespaceVersion(n *metadatav1.Namespace, removed bool) []*metadatav1.ObjectVersion {
	return []*metadatav1.ObjectVersion{{
		Kind:    metadatav1.ObjectKind_OBJECT_KIND_NAMESPACE,
		Id:      n.GetNamespaceId(),
		Name:    n.GetName(),
		Version: n.GetVersion(),
		Removed: removed,
	}}
}

func tableVersion(t *metadatav1.TableSchema, removed bool) []*metadatav1.ObjectVersion {
	return []*metadatav1.ObjectVersion{{
		Kind:    metadatav1.ObjectKind_OBJECT_KIND_TABLE,
		Id:      t.GetTableId(),
		Name:    t.GetName(),
		Version: t.GetVersion(),
		Removed: removed,
	}}
}

func shardVersion(s *metadatav1.ShardInfo, removed bool) *metadatav1.ObjectVersion {
	return &metadatav1.ObjectVersion{
		Kind:    metadatav1.ObjectKind_OBJECT_KIND_SHARD,
		Id:      s.GetShardId(),
		Version: s.GetVersion(),
		Removed: removed,
	}
}

// describeMap adds to an answer what it tells of the map beside the change.
func describeMap(reply proto.Message, m *topology.Model) {
	switch r := reply.(type) {
	case *metadatav1.UpdateShardMapResponse:
		size := 0
		for _, hole := range m.Holes(MaxListedHoles) {
			if size += proto.Size(hole) + 4; size > MaxListedHoleBytes {
				return
			}
			r.Holes = append(r.Holes, hole)
		}
	case *metadatav1.DrainNodeResponse:
		for s := range m.ShardsOn(r.GetNode().GetNodeId(), nil) {
			if len(r.ShardIds) == MaxListedShards {
				return
			}
			r.ShardIds = append(r.ShardIds, s.ID())
		}
	}
}
