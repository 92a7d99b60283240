package events

import (
	"cmp"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Subject is what filters look at of one object in one state.
type Subject struct {
	Kind      metadatav1.ObjectKind
	ID        uint64   // of a namespace, table or shard; of a signed head or history floor: the number of its stream
	Namespace string   // of a namespace or table
	Name      string   // of a namespace, table, node or consumer
	Nodes     []string // of a node: its own id; of a shard: the nodes that it names
}

// Subjects returns the objects that an event is about, in the states before and
// after it as far as they differ to a filter.
func Subjects(e *metadatav1.Event) []Subject {
	switch k := e.GetKind().(type) {
	case *metadatav1.Event_NamespaceCreated:
		return []Subject{NamespaceSubject(k.NamespaceCreated.GetNamespace())}
	case *metadatav1.Event_NamespaceDropped:
		return []Subject{NamespaceSubject(k.NamespaceDropped.GetNamespace())}
	case *metadatav1.Event_TableCreated:
		return []Subject{TableSubject(k.TableCreated.GetTable())}
	case *metadatav1.Event_TableAltered:
		now := TableSubject(k.TableAltered.GetTable())
		before := now
		before.Namespace = cmp.Or(k.TableAltered.GetPreviousNamespace(), now.Namespace)
		before.Name = cmp.Or(k.TableAltered.GetPreviousName(), now.Name)
		if before.Namespace == now.Namespace && before.Name == now.Name {
			return []Subject{now}
		}
		return []Subject{before, now}
	case *metadatav1.Event_TableDropped:
		return []Subject{TableSubject(k.TableDropped.GetTable())}
	case *metadatav1.Event_ShardCreated:
		return shardSubjects(nil, k.ShardCreated.GetShard())
	case *metadatav1.Event_ShardChanged:
		return shardSubjects(nil, k.ShardChanged.GetPrevious(), k.ShardChanged.GetShard())
	case *metadatav1.Event_ShardMoved:
		return shardSubjects(nil, k.ShardMoved.GetPrevious(), k.ShardMoved.GetShard())
	case *metadatav1.Event_ShardSplit:
		return shardSubjects(shardSubjects(nil, k.ShardSplit.GetParent()), k.ShardSplit.GetChildren()...)
	case *metadatav1.Event_ShardsMerged:
		return shardSubjects(shardSubjects(nil, k.ShardsMerged.GetParents()...), k.ShardsMerged.GetShard())
	case *metadatav1.Event_ShardDeleted:
		return shardSubjects(nil, k.ShardDeleted.GetShard())
	case *metadatav1.Event_HeadSigned:
		return []Subject{SignedHeadSubject(k.HeadSigned.GetHead())}
	case *metadatav1.Event_HistoryTrimmed:
		return []Subject{HistoryFloorSubject(k.HistoryTrimmed.GetFloor())}
	}
	if n := NodeOf(e); n != nil {
		return []Subject{NodeSubject(n)}
	}
	if c := ConsumerOf(e); c != nil {
		return []Subject{ConsumerSubject(c)}
	}
	return nil
}

// NodeOf returns the node that an event is about, as it is afterwards (for
// NodeUnregistered: as it was); nil if the event is about something else.
func NodeOf(e *metadatav1.Event) *metadatav1.NodeInfo {
	switch k := e.GetKind().(type) {
	case *metadatav1.Event_NodeRegistered:
		return k.NodeRegistered.GetNode()
	case *metadatav1.Event_NodeUnregistered:
		return k.NodeUnregistered.GetNode()
	case *metadatav1.Event_NodeCameOnline:
		return k.NodeCameOnline.GetNode()
	case *metadatav1.Event_NodeWentOffline:
		return k.NodeWentOffline.GetNode()
	case *metadatav1.Event_NodeDrained:
		return k.NodeDrained.GetNode()
	case *metadatav1.Event_NodeDrainCancelled:
		return k.NodeDrainCancelled.GetNode()
	}
	return nil
}

// ConsumerOf returns the consumer that an event is about, as it is afterwards (for
// ConsumerDeleted: as it was); nil if the event is about something else.
func ConsumerOf(e *metadatav1.Event) *metadatav1.Consumer {
	switch k := e.GetKind().(type) {
	case *metadatav1.Event_ConsumerCreated:
		return k.ConsumerCreated.GetConsumer()
	case *metadatav1.Event_ConsumerOpened:
		return k.ConsumerOpened.GetConsumer()
	case *metadatav1.Event_ConsumerAcknowledged:
		return k.ConsumerAcknowledged.GetConsumer()
	case *metadatav1.Event_ConsumerDeleted:
		return k.ConsumerDeleted.GetConsumer()
	}
	return nil
}

// NamespaceSubject returns the subject of a namespace.
func NamespaceSubject(n *metadatav1.Namespace) Subject {
	return Subject{
		Kind:      metadatav1.ObjectKind_OBJECT_KIND_NAMESPACE,
		ID:        n.GetNamespaceId(),
		Namespace: n.GetName(),
		Name:      n.GetName(),
	}
}

// TableSubject returns the subject of a table.
func TableSubject(t *metadatav1.TableSchema) Subject {
	return Subject{
		Kind:      metadatav1.ObjectKind_OBJECT_KIND_TABLE,
		ID:        t.GetTableId(),
		Namespace: t.GetNamespace(),
		Name:      t.GetName(),
	}
}

// NodeSubject returns the subject of a node.
func NodeSubject(n *metadatav1.NodeInfo) Subject {
	return Subject{
		Kind:  metadatav1.ObjectKind_OBJECT_KIND_NODE,
		Name:  n.GetNodeId(),
		Nodes: []string{n.GetNodeId()},
	}
}

// ShardSubject returns the subject of a shard.
func ShardSubject(s *metadatav1.ShardInfo) Subject {
	nodes := make([]string, 0, 3)
	for _, n := range [...]string{s.GetPrimaryNode(), s.GetMirrorNode(), s.GetWitnessNode()} {
		if n != "" {
			nodes = append(nodes, n)
		}
	}
	return Subject{
		Kind:  metadatav1.ObjectKind_OBJECT_KIND_SHARD,
		ID:    s.GetShardId(),
		Nodes: nodes,
	}
}

// ConsumerSubject returns the subject of a consumer.
func ConsumerSubject(c *metadatav1.Consumer) Subject {
	return Subject{Kind: metadatav1.ObjectKind_OBJECT_KIND_CONSUMER, Name: c.GetName()}
}

// SignedHeadSubject returns the subject of a signed head.
func SignedHeadSubject(h *metadatav1.SignedHead) Subject {
	return Subject{Kind: metadatav1.ObjectKind_OBJECT_KIND_SIGNED_HEAD, ID: uint64(h.GetStream())}
}

// HistoryFloorSubject returns the subject of a history floor.
func HistoryFloorSubject(f *metadatav1.HistoryFloor) Subject {
	return Subject{Kind: metadatav1.ObjectKind_OBJECT_KIND_HISTORY_FLOOR, ID: uint64(f.GetStream())}
}

func shardSubjects(to []Subject, shards ...*metadatav1.ShardInfo) []Subject {
	for _, s := range shards {
		to = append(to, ShardSubject(s))
	}
	return to
}
