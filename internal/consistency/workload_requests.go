package consistency

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// namespace is the public one most of the time.
func (w *Workload) namespace() string {
	if w.chance(0.75) {
		return publicName
	}
	return pick(w, w.namespaces)
}

func (w *Workload) table() string { return pick(w, w.tables) }

// host is a node to place shards on.
func (w *Workload) host() string {
	return pick(w, slices.Concat(w.nodes, w.options.Hosts))
}

// shard is one that was heard of; nil if none was.
func (w *Workload) shard() *metadatav1.ShardInfo {
	if len(w.shards) == 0 {
		return nil
	}
	return pick(w, w.shards)
}

// key is one of a few keys, so that ranges meet.
func (w *Workload) key() []byte {
	return []byte{byte('a' + w.rng.IntN(26)), byte('a' + w.rng.IntN(4))}
}

// RequestID returns a fresh request id.
func (w *Workload) RequestID() string { return fmt.Sprintf("%016x", w.rng.Uint64()) }

// write is the options of a write: sometimes with the revision that the client
// knows, sometimes a dry run.
func (w *Workload) write(client int, s metadatav1.Stream) *metadatav1.WriteOptions {
	o := &metadatav1.WriteOptions{RequestId: w.RequestID()}
	if w.chance(0.3) {
		o.KnownRevision = revisionOf(w.Position(client), s)
	}
	o.DryRun = w.chance(0.03)
	return o
}

// read is the options of a read: at each consistency.
func (w *Workload) read(client int) *metadatav1.ReadOptions {
	switch n := w.rng.IntN(10); {
	case n < 5:
		return &metadatav1.ReadOptions{Consistency: metadatav1.Consistency_CONSISTENCY_LINEARIZABLE}
	case n < 8:
		return &metadatav1.ReadOptions{Consistency: metadatav1.Consistency_CONSISTENCY_AT_LEAST, AtLeast: w.Position(client)}
	}
	return &metadatav1.ReadOptions{Consistency: metadatav1.Consistency_CONSISTENCY_LOCAL}
}

func (w *Workload) ref() *metadatav1.TableRef {
	if len(w.tableIDs) > 0 && w.chance(0.2) {
		return &metadatav1.TableRef{TableId: pick(w, w.tableIDs)}
	}
	return &metadatav1.TableRef{Namespace: w.namespace(), Name: w.table()}
}

// expected is the version that was heard of last, most of the time; absent if none.
func (w *Workload) expected(key string) *uint64 {
	version, ok := w.versions[key]
	if !ok || w.chance(0.3) {
		return nil
	}
	return proto.Uint64(version)
}

func (w *Workload) createTable(client int) proto.Message {
	return &metadatav1.CreateTableRequest{
		Table: &metadatav1.TableSchema{
			Namespace: w.namespace(), Name: w.table(),
			Columns: []*metadatav1.ColumnSchema{
				{Name: "k", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_INT64}},
				{Name: "v", DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_STRING}, Nullable: true},
			},
			PrimaryKey: []string{"k"},
			Comment:    w.comment(),
		},
		Write: w.write(client, schemaStream),
	}
}

// comment tells one change from another.
func (w *Workload) comment() string {
	w.runs++
	return fmt.Sprint("change ", w.runs)
}

func (w *Workload) alterTable(client int) proto.Message {
	r := &metadatav1.AlterTableRequest{Table: w.ref(), Write: w.write(client, schemaStream)}
	r.ExpectedVersion = w.expected(tableKey(r.GetTable().GetNamespace(), r.GetTable().GetName()))
	for range 1 + w.rng.IntN(2) {
		r.Alterations = append(r.Alterations, w.alteration())
	}
	return r
}

func (w *Workload) alteration() *metadatav1.TableAlteration {
	column := fmt.Sprint("c", w.rng.IntN(4))
	switch n := w.rng.IntN(10); {
	case n < 3:
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_AddColumn{AddColumn: &metadatav1.AddColumn{
			Column: &metadatav1.ColumnSchema{Name: column, DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_UUID}, Nullable: true},
		}}}
	case n < 5:
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_DropColumn{DropColumn: &metadatav1.DropColumn{Name: column}}}
	case n < 7:
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_RenameTable{RenameTable: &metadatav1.RenameTable{NewName: w.table()}}}
	}
	return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_SetComment{SetComment: &metadatav1.SetComment{Comment: w.comment()}}}
}

func (w *Workload) dropTable(client int) proto.Message {
	r := &metadatav1.DropTableRequest{Table: w.ref(), Write: w.write(client, schemaStream)}
	r.ExpectedVersion = w.expected(tableKey(r.GetTable().GetNamespace(), r.GetTable().GetName()))
	return r
}

func (w *Workload) createNamespace(client int) proto.Message {
	return &metadatav1.CreateNamespaceRequest{
		Namespace: &metadatav1.Namespace{Name: pick(w, w.namespaces)}, Write: w.write(client, schemaStream),
	}
}

func (w *Workload) dropNamespace(client int) proto.Message {
	return &metadatav1.DropNamespaceRequest{Name: pick(w, w.namespaces), Write: w.write(client, schemaStream)}
}

// batch is a few commands of one stream: all or none.
func (w *Workload) batch(client int) proto.Message {
	r := &metadatav1.ApplyBatchRequest{Write: w.write(client, schemaStream)}
	for range 2 + w.rng.IntN(2) {
		var command *metadatav1.Command
		switch w.rng.IntN(3) {
		case 0:
			c, _ := w.createTable(client).(*metadatav1.CreateTableRequest)
			c.Write = nil
			command = &metadatav1.Command{Command: &metadatav1.Command_CreateTable{CreateTable: c}}
		case 1:
			c, _ := w.alterTable(client).(*metadatav1.AlterTableRequest)
			c.Write = nil
			command = &metadatav1.Command{Command: &metadatav1.Command_AlterTable{AlterTable: c}}
		default:
			c, _ := w.dropTable(client).(*metadatav1.DropTableRequest)
			c.Write = nil
			command = &metadatav1.Command{Command: &metadatav1.Command_DropTable{DropTable: c}}
		}
		r.Commands = append(r.Commands, command)
	}
	return r
}

func (w *Workload) registerNode(client int) proto.Message {
	id := pick(w, w.nodes)
	return &metadatav1.RegisterNodeRequest{
		Node: &metadatav1.NodeInfo{
			NodeId: id, Addr: fmt.Sprintf("%s:%d", id, 1000+w.rng.IntN(2)), NodeType: w.nodeType(id),
			Incarnation: fmt.Sprint("run ", w.rng.IntN(2)),
		},
		Write: w.write(client, topologyStream),
	}
}

// nodeType is STORAGE, but for the last node of the pool and now and then by
// mistake.
func (w *Workload) nodeType(id string) metadatav1.NodeType {
	if id == w.nodes[len(w.nodes)-1] || w.chance(0.02) {
		return metadatav1.NodeType_NODE_TYPE_COMPUTE
	}
	return metadatav1.NodeType_NODE_TYPE_STORAGE
}

// epoch is the one that was heard of last, or none.
func (w *Workload) epoch(node string) uint64 {
	if w.chance(0.5) {
		return 0
	}
	return w.epochs[node]
}

func (w *Workload) unregisterNode(client int) proto.Message {
	id := pick(w, w.nodes)
	return &metadatav1.UnregisterNodeRequest{NodeId: id, ExpectedEpoch: w.epoch(id), Write: w.write(client, topologyStream)}
}

func (w *Workload) drainNode(client int) proto.Message {
	id := w.host()
	return &metadatav1.DrainNodeRequest{NodeId: id, ExpectedEpoch: w.epoch(id), Cancel: w.chance(0.7), Write: w.write(client, topologyStream)}
}

func (w *Workload) beat(int) proto.Message {
	id := pick(w, w.nodes)
	return &metadatav1.HeartbeatRequest{NodeId: id, Epoch: max(1, w.epochs[id])}
}

func (w *Workload) shardMap(client int, changes ...*metadatav1.ShardMapChange) proto.Message {
	return &metadatav1.UpdateShardMapRequest{Changes: changes, Write: w.write(client, topologyStream)}
}

// placement is a primary, and sometimes a mirror.
func (w *Workload) placement() (primary, mirror string) {
	primary = w.host()
	if w.chance(0.5) {
		mirror = w.host()
	}
	return primary, mirror
}

// putShard puts a shard over everything at first, later over a random range.
func (w *Workload) putShard(client int) proto.Message {
	keys := &metadatav1.KeyRange{}
	if len(w.shards) > 0 {
		a, b := w.key(), w.key()
		if bytes.Compare(a, b) > 0 {
			a, b = b, a
		}
		keys = &metadatav1.KeyRange{Start: a, End: b}
	}
	primary, mirror := w.placement()
	put := &metadatav1.PutShard{Shard: &metadatav1.ShardInfo{KeyRange: keys, PrimaryNode: primary, MirrorNode: mirror}}
	if s := w.shard(); s != nil && w.chance(0.4) {
		put.Shard.ShardId, put.Shard.KeyRange = s.GetShardId(), s.GetKeyRange()
		put.ExpectedVersion = proto.Uint64(s.GetVersion())
	}
	return w.shardMap(client, &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Put{Put: put}})
}

func (w *Workload) splitShard(client int) proto.Message {
	s := w.shard()
	if s == nil {
		return w.putShard(client)
	}
	split := &metadatav1.SplitShard{ShardId: s.GetShardId(), SplitKeys: [][]byte{w.key()}}
	if w.chance(0.5) {
		split.ExpectedVersion = proto.Uint64(s.GetVersion())
	}
	return w.shardMap(client, &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Split{Split: split}})
}

func (w *Workload) moveShard(client int) proto.Message {
	s := w.shard()
	if s == nil {
		return w.putShard(client)
	}
	primary, mirror := w.placement()
	move := &metadatav1.MoveShard{ShardId: s.GetShardId(), PrimaryNode: primary, MirrorNode: mirror, ExpectedVersion: proto.Uint64(s.GetVersion())}
	return w.shardMap(client, &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Move{Move: move}})
}

// mergeShards joins two neighbours if it knows any, else two shards.
func (w *Workload) mergeShards(client int) proto.Message {
	left := w.shard()
	if left == nil || len(w.shards) < 2 {
		return w.putShard(client)
	}
	right := w.shard()
	for _, s := range w.shards {
		if bytes.Equal(s.GetKeyRange().GetStart(), left.GetKeyRange().GetEnd()) {
			right = s
		}
	}
	merge := &metadatav1.MergeShards{ShardIds: []uint64{left.GetShardId(), right.GetShardId()}}
	return w.shardMap(client, &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Merge{Merge: merge}})
}

func (w *Workload) deleteShard(client int) proto.Message {
	s := w.shard()
	if s == nil {
		return w.putShard(client)
	}
	return w.shardMap(client, &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Delete{Delete: &metadatav1.DeleteShard{ShardId: s.GetShardId()}}})
}

func (w *Workload) getTable(client int) proto.Message {
	return &metadatav1.GetTableRequest{Table: w.ref(), Read: w.read(client)}
}

func (w *Workload) listTables(client int) proto.Message {
	r := &metadatav1.ListTablesRequest{Read: w.read(client), PageSize: uint32(w.rng.IntN(4))}
	if w.chance(0.3) {
		r.Namespace = w.namespace()
	}
	return r
}

func (w *Workload) listNamespaces(client int) proto.Message {
	return &metadatav1.ListNamespacesRequest{Read: w.read(client)}
}

func (w *Workload) getNode(client int) proto.Message {
	return &metadatav1.GetNodeRequest{NodeId: w.host(), Read: w.read(client)}
}

func (w *Workload) listNodes(client int) proto.Message {
	return &metadatav1.ListNodesRequest{Read: w.read(client), PageSize: uint32(w.rng.IntN(4))}
}

func (w *Workload) getShard(client int) proto.Message {
	r := &metadatav1.GetShardRequest{Read: w.read(client), Shard: &metadatav1.GetShardRequest_Key{Key: w.key()}}
	if s := w.shard(); s != nil && w.chance(0.4) {
		r.Shard = &metadatav1.GetShardRequest_ShardId{ShardId: s.GetShardId()}
	}
	return r
}

func (w *Workload) listShards(client int) proto.Message {
	r := &metadatav1.ListShardsRequest{Read: w.read(client), PageSize: uint32(w.rng.IntN(4))}
	if w.chance(0.3) {
		r.NodeId = w.host()
	}
	return r
}

func (w *Workload) getTopology(client int) proto.Message {
	return &metadatav1.GetTopologyRequest{Read: w.read(client)}
}
