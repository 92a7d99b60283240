package consistency

import (
	"cmp"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Keys of what is no object of its own.
const (
	shardMapKey = "shards"    // all shards: their ranges exclude one another
	tableIDKey  = "table-id/" // a table named by id
	// signedHeadKey: the newest signed head of a stream. The rules do not know it.
	signedHeadKey = "signed-head/"
)

// keysOfTable returns the keys of a table's name. A namespace other than the public
// one, which always exists, goes together with its tables.
func keysOfTable(namespace, name string) []string {
	namespace = cmp.Or(namespace, publicName)
	keys := []string{tableKey(namespace, name)}
	if namespace != publicName {
		keys = append(keys, namespaceKey(namespace))
	}
	return keys
}

func keysOfRef(r *metadatav1.TableRef) []string {
	if id := r.GetTableId(); id != 0 {
		return []string{tableIDKey + strconv.FormatUint(id, 10)}
	}
	return keysOfTable(r.GetNamespace(), r.GetName())
}

// keysOfRequest returns the keys of what a request is about; none for reads of
// whole lists, which take no part in the search.
func keysOfRequest(request proto.Message) (keys []string) {
	switch r := request.(type) {
	case *metadatav1.CreateNamespaceRequest:
		return []string{namespaceKey(r.GetNamespace().GetName())}
	case *metadatav1.DropNamespaceRequest:
		return []string{namespaceKey(r.GetName())}
	case *metadatav1.CreateTableRequest:
		return keysOfTable(r.GetTable().GetNamespace(), r.GetTable().GetName())
	case *metadatav1.AlterTableRequest:
		keys = keysOfRef(r.GetTable())
		for _, a := range r.GetAlterations() {
			if to := a.GetRenameTable(); to != nil {
				keys = append(keys, keysOfTable(cmp.Or(to.GetNewNamespace(), r.GetTable().GetNamespace()), cmp.Or(to.GetNewName(), r.GetTable().GetName()))...)
			}
		}
		return keys
	case *metadatav1.DropTableRequest:
		return keysOfRef(r.GetTable())
	case *metadatav1.GetTableRequest:
		return keysOfRef(r.GetTable())
	case *metadatav1.RegisterNodeRequest:
		return []string{nodeKey(r.GetNode().GetNodeId())}
	case *metadatav1.UnregisterNodeRequest:
		return []string{nodeKey(r.GetNodeId())}
	case *metadatav1.DrainNodeRequest:
		return []string{nodeKey(r.GetNodeId())}
	case *metadatav1.GetNodeRequest:
		return []string{nodeKey(r.GetNodeId())}
	case *metadatav1.HeartbeatRequest:
		return []string{nodeKey(r.GetNodeId())}
	case *metadatav1.GetShardRequest:
		return []string{shardMapKey}
	case *metadatav1.UpdateShardMapRequest:
		return keysOfShardMap(r)
	case *metadatav1.CreateConsumerRequest:
		return append(floorKeys(), consumerKey(r.GetConsumer().GetName()))
	case *metadatav1.OpenConsumerRequest:
		return []string{consumerKey(r.GetName())}
	case *metadatav1.AcknowledgeConsumerRequest:
		return []string{consumerKey(r.GetName())}
	case *metadatav1.DeleteConsumerRequest:
		return []string{consumerKey(r.GetName())}
	case *metadatav1.GetConsumerRequest:
		return []string{consumerKey(r.GetName())}
	case *metadatav1.ApplyBatchRequest:
		for _, command := range commandsOf(r) {
			keys = append(keys, keysOfRequest(command)...)
		}
	}
	return keys
}

func keysOfShardMap(r *metadatav1.UpdateShardMapRequest) []string {
	keys := []string{shardMapKey}
	for _, change := range r.GetChanges() {
		for _, id := range nodesOf(change.GetPut().GetShard()) {
			keys = append(keys, nodeKey(id))
		}
		if m := change.GetMove(); m != nil {
			for _, id := range nodesOf(&metadatav1.ShardInfo{PrimaryNode: m.GetPrimaryNode(), MirrorNode: m.GetMirrorNode(), WitnessNode: m.GetWitnessNode()}) {
				keys = append(keys, nodeKey(id))
			}
		}
	}
	return keys
}

// keysOfChange returns the keys of what a change is about. A table's id goes
// together with each name that it has had.
func keysOfChange(c *events.Change) (keys []string) {
	for _, e := range c.Events() {
		for _, subject := range events.Subjects(e.Message()) {
			switch subject.Kind {
			case metadatav1.ObjectKind_OBJECT_KIND_NAMESPACE:
				keys = append(keys, namespaceKey(subject.Name))
			case metadatav1.ObjectKind_OBJECT_KIND_TABLE:
				keys = append(keys, keysOfTable(subject.Namespace, subject.Name)...)
				keys = append(keys, tableIDKey+strconv.FormatUint(subject.ID, 10))
			case metadatav1.ObjectKind_OBJECT_KIND_NODE:
				keys = append(keys, nodeKey(subject.Name))
			case metadatav1.ObjectKind_OBJECT_KIND_SHARD:
				keys = append(keys, shardMapKey)
				for _, id := range subject.Nodes {
					keys = append(keys, nodeKey(id))
				}
			case metadatav1.ObjectKind_OBJECT_KIND_CONSUMER:
				keys = append(keys, consumerKey(subject.Name))
			case metadatav1.ObjectKind_OBJECT_KIND_HISTORY_FLOOR:
				keys = append(keys, floorKey(metadatav1.Stream(subject.ID)))
			case metadatav1.ObjectKind_OBJECT_KIND_SIGNED_HEAD:
				keys = append(keys, signedHeadKey+nameOf(metadatav1.Stream(subject.ID)))
			}
		}
	}
	return keys
}
