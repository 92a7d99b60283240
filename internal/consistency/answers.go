package consistency

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// withoutMoment is an answer to a write without what depends on when it was given:
// a retry gets that of its own moment.
func withoutMoment(response proto.Message) proto.Message {
	m := proto.Clone(response)
	for _, name := range []string{"result", "holes", "shard_ids", "lease_duration", "heartbeat_interval"} {
		for i := range m.ProtoReflect().Descriptor().Fields().Len() {
			if field := m.ProtoReflect().Descriptor().Fields().Get(i); string(field.Name()) == name {
				m.ProtoReflect().Clear(field)
			}
		}
	}
	return m
}

// answerTo is what a command that made a change has to be answered, without what
// withoutMoment leaves out; nil if the request is not known here.
func answerTo(request proto.Message, change *events.Change) proto.Message {
	evs := change.Message().GetEvents()
	e := evs[0]
	switch r := request.(type) {
	case *metadatav1.CreateNamespaceRequest:
		return &metadatav1.CreateNamespaceResponse{Namespace: e.GetNamespaceCreated().GetNamespace()}
	case *metadatav1.DropNamespaceRequest:
		return &metadatav1.DropNamespaceResponse{Namespace: e.GetNamespaceDropped().GetNamespace()}
	case *metadatav1.CreateTableRequest:
		return &metadatav1.CreateTableResponse{Table: e.GetTableCreated().GetTable()}
	case *metadatav1.AlterTableRequest:
		return &metadatav1.AlterTableResponse{Table: e.GetTableAltered().GetTable()}
	case *metadatav1.DropTableRequest:
		return &metadatav1.DropTableResponse{Table: e.GetTableDropped().GetTable()}
	case *metadatav1.RegisterNodeRequest:
		return &metadatav1.RegisterNodeResponse{Node: e.GetNodeRegistered().GetNode()}
	case *metadatav1.UnregisterNodeRequest:
		return &metadatav1.UnregisterNodeResponse{Node: e.GetNodeUnregistered().GetNode()}
	case *metadatav1.DrainNodeRequest:
		if r.GetCancel() {
			return &metadatav1.DrainNodeResponse{Node: e.GetNodeDrainCancelled().GetNode()}
		}
		return &metadatav1.DrainNodeResponse{Node: e.GetNodeDrained().GetNode()}
	case *metadatav1.UpdateShardMapRequest:
		return shardMapAnswer(evs)
	case *metadatav1.CreateConsumerRequest:
		return &metadatav1.CreateConsumerResponse{Consumer: events.ConsumerOf(e)}
	case *metadatav1.OpenConsumerRequest:
		return &metadatav1.OpenConsumerResponse{Consumer: events.ConsumerOf(e)}
	case *metadatav1.AcknowledgeConsumerRequest:
		return &metadatav1.AcknowledgeConsumerResponse{Consumer: events.ConsumerOf(e)}
	case *metadatav1.DeleteConsumerRequest:
		return &metadatav1.DeleteConsumerResponse{Consumer: events.ConsumerOf(e)}
	case *metadatav1.ApplyBatchRequest:
		return batchAnswer(len(r.GetCommands()), evs)
	}
	return nil
}

func shardMapAnswer(evs []*metadatav1.Event) *metadatav1.UpdateShardMapResponse {
	answer, left := &metadatav1.UpdateShardMapResponse{}, make(map[uint64]*metadatav1.ShardInfo)
	for _, e := range evs {
		before, after := shardsOf(e)
		for _, s := range before {
			if !slices.ContainsFunc(after, func(a *metadatav1.ShardInfo) bool { return a.GetShardId() == s.GetShardId() }) {
				delete(left, s.GetShardId())
				answer.RemovedShardIds = append(answer.RemovedShardIds, s.GetShardId())
			}
		}
		for _, s := range after {
			left[s.GetShardId()] = s
		}
	}
	answer.Shards = slices.SortedFunc(maps.Values(left), func(a, b *metadatav1.ShardInfo) int {
		return cmp.Or(bytes.Compare(a.GetKeyRange().GetStart(), b.GetKeyRange().GetStart()), cmp.Compare(a.GetShardId(), b.GetShardId()))
	})
	return answer
}

// shardsOf returns the shards that an event is about, before and after it.
func shardsOf(e *metadatav1.Event) (before, after []*metadatav1.ShardInfo) {
	one := func(s *metadatav1.ShardInfo) []*metadatav1.ShardInfo { return []*metadatav1.ShardInfo{s} }
	switch k := e.GetKind().(type) {
	case *metadatav1.Event_ShardCreated:
		return nil, one(k.ShardCreated.GetShard())
	case *metadatav1.Event_ShardChanged:
		return one(k.ShardChanged.GetPrevious()), one(k.ShardChanged.GetShard())
	case *metadatav1.Event_ShardMoved:
		return one(k.ShardMoved.GetPrevious()), one(k.ShardMoved.GetShard())
	case *metadatav1.Event_ShardSplit:
		return one(k.ShardSplit.GetParent()), k.ShardSplit.GetChildren()
	case *metadatav1.Event_ShardsMerged:
		return k.ShardsMerged.GetParents(), one(k.ShardsMerged.GetShard())
	case *metadatav1.Event_ShardDeleted:
		return one(k.ShardDeleted.GetShard()), nil
	}
	return nil, nil
}

func batchAnswer(n int, evs []*metadatav1.Event) *metadatav1.ApplyBatchResponse {
	answer := &metadatav1.ApplyBatchResponse{}
	for range n {
		answer.Results = append(answer.Results, &metadatav1.CommandResult{})
	}
	for _, e := range evs {
		if at := int(e.GetCommand()); at < n {
			answer.Results[at].Objects = append(answer.Results[at].Objects, versionsOf(e)...)
		}
	}
	return answer
}

// versionsOf names what an event left: what is there afterwards, then what is gone.
func versionsOf(e *metadatav1.Event) (all []*metadatav1.ObjectVersion) {
	namespace := func(n *metadatav1.Namespace, removed bool) {
		all = append(all, &metadatav1.ObjectVersion{
			Kind: metadatav1.ObjectKind_OBJECT_KIND_NAMESPACE, Id: n.GetNamespaceId(), Name: n.GetName(), Version: n.GetVersion(), Removed: removed,
		})
	}
	table := func(t *metadatav1.TableSchema, removed bool) {
		all = append(all, &metadatav1.ObjectVersion{
			Kind: metadatav1.ObjectKind_OBJECT_KIND_TABLE, Id: t.GetTableId(), Name: t.GetName(), Version: t.GetVersion(), Removed: removed,
		})
	}
	shard := func(s *metadatav1.ShardInfo, removed bool) {
		all = append(all, &metadatav1.ObjectVersion{
			Kind: metadatav1.ObjectKind_OBJECT_KIND_SHARD, Id: s.GetShardId(), Version: s.GetVersion(), Removed: removed,
		})
	}
	switch k := e.GetKind().(type) {
	case *metadatav1.Event_NamespaceCreated:
		namespace(k.NamespaceCreated.GetNamespace(), false)
	case *metadatav1.Event_NamespaceDropped:
		namespace(k.NamespaceDropped.GetNamespace(), true)
	case *metadatav1.Event_TableCreated:
		table(k.TableCreated.GetTable(), false)
	case *metadatav1.Event_TableAltered:
		table(k.TableAltered.GetTable(), false)
	case *metadatav1.Event_TableDropped:
		table(k.TableDropped.GetTable(), true)
	}
	if n := events.NodeOf(e); n != nil {
		all = append(all, &metadatav1.ObjectVersion{
			Kind: metadatav1.ObjectKind_OBJECT_KIND_NODE, Name: n.GetNodeId(), Version: n.GetEpoch(), Removed: e.GetNodeUnregistered() != nil,
		})
	}
	before, after := shardsOf(e)
	for _, s := range after {
		shard(s, false)
	}
	for _, s := range before {
		if !slices.ContainsFunc(after, func(a *metadatav1.ShardInfo) bool { return a.GetShardId() == s.GetShardId() }) {
			shard(s, true)
		}
	}
	return all
}
