package commands_test

import (
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Generators draw from few names, ids and keys, so that commands meet.

// commandGen draws commands of all streams; internal ones too if asked for.
func commandGen(internal bool) *rapid.Generator[proto.Message] {
	return rapid.OneOf(
		streamCommandGen(metadatav1.Stream_STREAM_SCHEMA, internal),
		streamCommandGen(metadatav1.Stream_STREAM_TOPOLOGY, internal),
		streamCommandGen(metadatav1.Stream_STREAM_SERVICE, internal),
	)
}

func streamCommandGen(s metadatav1.Stream, internal bool) *rapid.Generator[proto.Message] {
	switch s {
	case metadatav1.Stream_STREAM_SCHEMA:
		return rapid.Custom(schemaCommand)
	case metadatav1.Stream_STREAM_SERVICE:
		return rapid.Custom(func(t *rapid.T) proto.Message { return serviceCommand(t, internal) })
	}
	return rapid.Custom(func(t *rapid.T) proto.Message { return topologyCommand(t, internal) })
}

func pick[T any](t *rapid.T, label string, values ...T) T {
	return rapid.SampledFrom(values).Draw(t, label)
}

func namespaceName(t *rapid.T) string {
	return pick(t, "namespace", "", "", "public", "sales", "archive")
}
func tableName(t *rapid.T) string  { return pick(t, "table", "t", "u", "v", "t", "u", "1bad") }
func columnName(t *rapid.T) string { return pick(t, "column", "a", "b", "c0", "c1") }
func nodeID(t *rapid.T) string     { return pick(t, "node", "n", "n1", "n2", "n3") }

// expectation is a version that is usually absent, and then mostly right.
func expectation(t *rapid.T) *uint64 {
	return pick(t, "expected", nil, nil, nil, new(uint64(1)), new(uint64(2)), new(uint64(0)))
}

func schemaCommand(t *rapid.T) proto.Message {
	switch pick(t, "kind", 0, 1, 2, 2, 2, 3, 3, 3, 4) {
	case 0:
		return &metadatav1.CreateNamespaceRequest{Namespace: &metadatav1.Namespace{Name: namespaceName(t)}}
	case 1:
		return &metadatav1.DropNamespaceRequest{Name: namespaceName(t), ExpectedVersion: expectation(t)}
	case 2:
		table := &metadatav1.TableSchema{
			TableId: pick[uint64](t, "id", 0, 0, 1, 2, 3, 1<<32), Namespace: namespaceName(t), Name: tableName(t),
			Columns: rapid.SliceOfN(rapid.Custom(column), 1, 3).Draw(t, "columns"),
		}
		if rapid.Bool().Draw(t, "key") {
			table.PrimaryKey = []string{columnName(t)}
		}
		return &metadatav1.CreateTableRequest{Table: table}
	case 3:
		return &metadatav1.AlterTableRequest{Table: tableRef(t), ExpectedVersion: expectation(t),
			Alterations: rapid.SliceOfN(rapid.Custom(alteration), 1, 2).Draw(t, "steps")}
	}
	return &metadatav1.DropTableRequest{Table: tableRef(t), ExpectedVersion: expectation(t)}
}

func tableRef(t *rapid.T) *metadatav1.TableRef {
	return &metadatav1.TableRef{TableId: pick[uint64](t, "id", 0, 0, 1, 2), Namespace: namespaceName(t), Name: tableName(t)}
}

func column(t *rapid.T) *metadatav1.ColumnSchema {
	return &metadatav1.ColumnSchema{
		ColumnId: pick[uint32](t, "id", 0, 0, 1, 2, 3),
		Name:     columnName(t),
		DataType: dataType(t),
		Nullable: rapid.Bool().Draw(t, "nullable"),
		Default:  pick(t, "default", nil, nil, new("1")),
	}
}

func dataType(t *rapid.T) *metadatav1.DataType {
	return &metadatav1.DataType{Kind: metadatav1.TypeKind(rapid.Int32Range(1, 20).Draw(t, "type"))}
}

func alteration(t *rapid.T) *metadatav1.TableAlteration {
	switch pick(t, "step", 0, 1, 2, 3, 4, 4, 5, 6) {
	case 0:
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_AddColumn{AddColumn: &metadatav1.AddColumn{Column: column(t)}}}
	case 1:
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_DropColumn{DropColumn: &metadatav1.DropColumn{Name: columnName(t)}}}
	case 2:
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_RenameColumn{RenameColumn: &metadatav1.RenameColumn{Name: columnName(t), NewName: columnName(t)}}}
	case 3:
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_ChangeColumn{ChangeColumn: &metadatav1.ChangeColumn{
			Name: columnName(t), DataType: dataType(t), Nullable: pick(t, "nullable", nil, new(true), new(false)), DropDefault: rapid.Bool().Draw(t, "drop"),
		}}}
	case 4:
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_RenameTable{RenameTable: &metadatav1.RenameTable{NewName: tableName(t), NewNamespace: namespaceName(t)}}}
	case 5:
		return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_SetProperties{SetProperties: &metadatav1.SetProperties{
			Set: map[string]string{columnName(t): tableName(t)}, Remove: []string{"b"},
		}}}
	}
	return &metadatav1.TableAlteration{Action: &metadatav1.TableAlteration_SetComment{SetComment: &metadatav1.SetComment{Comment: tableName(t)}}}
}

func topologyCommand(t *rapid.T, internal bool) proto.Message {
	kinds := []int{0, 0, 0, 1, 2, 3, 3, 3, 3}
	if internal {
		kinds = append(kinds, 4, 5)
	}
	switch rapid.SampledFrom(kinds).Draw(t, "kind") {
	case 0:
		return &metadatav1.RegisterNodeRequest{Node: &metadatav1.NodeInfo{
			NodeId: nodeID(t), Addr: pick(t, "addr", "h:1", "h:2"), Incarnation: pick(t, "incarnation", "x", "x", "y"),
			NodeType: pick(t, "type", metadatav1.NodeType_NODE_TYPE_STORAGE, metadatav1.NodeType_NODE_TYPE_STORAGE, metadatav1.NodeType_NODE_TYPE_COMPUTE),
		}}
	case 1:
		return &metadatav1.UnregisterNodeRequest{NodeId: nodeID(t), ExpectedEpoch: pick[uint64](t, "epoch", 0, 0, 1, 2)}
	case 2:
		return &metadatav1.DrainNodeRequest{NodeId: nodeID(t), Cancel: rapid.Bool().Draw(t, "cancel")}
	case 4:
		return &metadatav1.ExpireNodeLease{NodeId: nodeID(t), Epoch: rapid.Uint64Range(1, 6).Draw(t, "epoch")}
	case 5:
		return &metadatav1.ReviveNode{NodeId: nodeID(t), Epoch: rapid.Uint64Range(1, 6).Draw(t, "epoch")}
	}
	return &metadatav1.UpdateShardMapRequest{Changes: rapid.SliceOfN(rapid.Custom(shardStep), 1, 2).Draw(t, "steps")}
}

func key(t *rapid.T) []byte {
	return []byte(pick(t, "key", "", "b", "d", "f", "h", "k", "m"))
}

func shardID(t *rapid.T) uint64 { return rapid.Uint64Range(0, 8).Draw(t, "shard") }

func shardStep(t *rapid.T) *metadatav1.ShardMapChange {
	switch pick(t, "step", 0, 0, 0, 1, 2, 2, 3, 4) {
	case 0:
		return &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Put{Put: &metadatav1.PutShard{
			Shard: &metadatav1.ShardInfo{
				ShardId: pick(t, "id", 0, 0, shardID(t)), KeyRange: &metadatav1.KeyRange{Start: key(t), End: key(t)},
				PrimaryNode: nodeID(t), MirrorNode: pick(t, "mirror", "", "", "n1", "n2"),
			},
			ExpectedVersion: expectation(t),
		}}}
	case 1:
		return &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Delete{Delete: &metadatav1.DeleteShard{ShardId: shardID(t), ExpectedVersion: expectation(t)}}}
	case 2:
		return &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Split{Split: &metadatav1.SplitShard{
			ShardId: shardID(t), SplitKeys: [][]byte{key(t)}, ChildIds: pick(t, "children", nil, nil, []uint64{0, shardID(t)}), ExpectedVersion: expectation(t),
		}}}
	case 3:
		return &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Merge{Merge: &metadatav1.MergeShards{ShardIds: []uint64{shardID(t), shardID(t)}, ChildId: pick(t, "child", 0, 0, shardID(t))}}}
	}
	return &metadatav1.ShardMapChange{Action: &metadatav1.ShardMapChange_Move{Move: &metadatav1.MoveShard{
		ShardId: shardID(t), PrimaryNode: nodeID(t), MirrorNode: pick(t, "mirror", "", "", "n1", "n2"), ExpectedVersion: expectation(t),
	}}}
}
