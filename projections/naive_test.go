package projections

import (
	"bytes"
	"maps"
	"slices"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// naive is a second implementation of what events mean: plain maps of messages,
// no indexes, no copying. The models are compared with it.
type naive struct {
	namespaces map[string]*metadatav1.Namespace
	tables     map[uint64]*metadatav1.TableSchema
	nodes      map[string]*metadatav1.NodeInfo
	shards     map[uint64]*metadatav1.ShardInfo
	usedTables map[uint64]bool
	usedShards map[uint64]bool
	usedSpaces map[uint64]bool
	epoch      uint64
	consumers  map[string]*metadatav1.Consumer
	heads      map[metadatav1.Stream][]*metadatav1.SignedHead
	floors     map[metadatav1.Stream]*metadatav1.HistoryFloor
}

func newNaive() *naive {
	return &naive{
		namespaces: map[string]*metadatav1.Namespace{"public": {NamespaceId: 1, Name: "public", Version: 1}},
		tables:     map[uint64]*metadatav1.TableSchema{},
		nodes:      map[string]*metadatav1.NodeInfo{},
		shards:     map[uint64]*metadatav1.ShardInfo{},
		usedTables: map[uint64]bool{},
		usedShards: map[uint64]bool{},
		usedSpaces: map[uint64]bool{1: true},
		consumers:  map[string]*metadatav1.Consumer{},
		heads:      map[metadatav1.Stream][]*metadatav1.SignedHead{},
		floors:     map[metadatav1.Stream]*metadatav1.HistoryFloor{},
	}
}

func (n *naive) apply(e *metadatav1.Event) {
	switch k := e.Kind.(type) {
	case *metadatav1.Event_NamespaceCreated:
		n.namespaces[k.NamespaceCreated.Namespace.Name] = k.NamespaceCreated.Namespace
		n.usedSpaces[k.NamespaceCreated.Namespace.NamespaceId] = true
	case *metadatav1.Event_NamespaceDropped:
		delete(n.namespaces, k.NamespaceDropped.Namespace.Name)
	case *metadatav1.Event_TableCreated:
		n.tables[k.TableCreated.Table.TableId] = k.TableCreated.Table
		n.usedTables[k.TableCreated.Table.TableId] = true
	case *metadatav1.Event_TableAltered:
		n.tables[k.TableAltered.Table.TableId] = k.TableAltered.Table
	case *metadatav1.Event_TableDropped:
		delete(n.tables, k.TableDropped.Table.TableId)
	case *metadatav1.Event_NodeRegistered:
		n.putNode(k.NodeRegistered.Node)
	case *metadatav1.Event_NodeUnregistered:
		delete(n.nodes, k.NodeUnregistered.Node.NodeId)
	case *metadatav1.Event_NodeCameOnline:
		n.putNode(k.NodeCameOnline.Node)
	case *metadatav1.Event_NodeWentOffline:
		n.putNode(k.NodeWentOffline.Node)
	case *metadatav1.Event_NodeDrained:
		n.putNode(k.NodeDrained.Node)
	case *metadatav1.Event_NodeDrainCancelled:
		n.putNode(k.NodeDrainCancelled.Node)
	case *metadatav1.Event_ShardCreated:
		n.putShards(k.ShardCreated.Shard)
	case *metadatav1.Event_ShardChanged:
		n.putShards(k.ShardChanged.Shard)
	case *metadatav1.Event_ShardMoved:
		n.putShards(k.ShardMoved.Shard)
	case *metadatav1.Event_ShardSplit:
		delete(n.shards, k.ShardSplit.Parent.ShardId)
		n.putShards(k.ShardSplit.Children...)
	case *metadatav1.Event_ShardsMerged:
		for _, p := range k.ShardsMerged.Parents {
			delete(n.shards, p.ShardId)
		}
		n.putShards(k.ShardsMerged.Shard)
	case *metadatav1.Event_ShardDeleted:
		delete(n.shards, k.ShardDeleted.Shard.ShardId)
	default:
		n.applyService(e)
	}
}

func (n *naive) applyService(e *metadatav1.Event) {
	switch k := e.Kind.(type) {
	case *metadatav1.Event_ConsumerCreated:
		n.consumers[k.ConsumerCreated.Consumer.Name] = k.ConsumerCreated.Consumer
	case *metadatav1.Event_ConsumerOpened:
		n.consumers[k.ConsumerOpened.Consumer.Name] = k.ConsumerOpened.Consumer
	case *metadatav1.Event_ConsumerAcknowledged:
		n.consumers[k.ConsumerAcknowledged.Consumer.Name] = k.ConsumerAcknowledged.Consumer
	case *metadatav1.Event_ConsumerDeleted:
		delete(n.consumers, k.ConsumerDeleted.Consumer.Name)
	case *metadatav1.Event_HeadSigned:
		n.heads[k.HeadSigned.Head.Stream] = append(n.heads[k.HeadSigned.Head.Stream], k.HeadSigned.Head)
	case *metadatav1.Event_HistoryTrimmed:
		n.floors[k.HistoryTrimmed.Floor.Stream] = k.HistoryTrimmed.Floor
	default:
		panic("the naive model does not know this event")
	}
}

func (n *naive) putNode(node *metadatav1.NodeInfo) {
	n.nodes[node.NodeId] = node
	n.epoch = max(n.epoch, node.Epoch)
}

func (n *naive) putShards(shards ...*metadatav1.ShardInfo) {
	for _, s := range shards {
		n.shards[s.ShardId] = s
		n.usedShards[s.ShardId] = true
	}
}

func free(used map[uint64]bool) uint64 {
	id := uint64(1)
	for used[id] {
		id++
	}
	return id
}

// sortedTables returns the tables by namespace and name.
func (n *naive) sortedTables() []*metadatav1.TableSchema {
	return slices.SortedFunc(maps.Values(n.tables), func(a, b *metadatav1.TableSchema) int {
		return bytes.Compare([]byte(a.Namespace+"\x00"+a.Name), []byte(b.Namespace+"\x00"+b.Name))
	})
}

// sortedShards returns the shards by key.
func (n *naive) sortedShards() []*metadatav1.ShardInfo {
	return slices.SortedFunc(maps.Values(n.shards), func(a, b *metadatav1.ShardInfo) int {
		return bytes.Compare(a.KeyRange.Start, b.KeyRange.Start)
	})
}

func holds(s *metadatav1.ShardInfo, key []byte) bool {
	return bytes.Compare(s.KeyRange.Start, key) <= 0 && (len(s.KeyRange.End) == 0 || bytes.Compare(key, s.KeyRange.End) < 0)
}

func names(s *metadatav1.ShardInfo, node string) bool {
	return s.PrimaryNode == node || s.MirrorNode == node || s.WitnessNode == node
}
