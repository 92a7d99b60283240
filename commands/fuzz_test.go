package commands_test

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/heliosdb/metadata/commands"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// requests are the messages that a decision may be handed, and one that is none.
var requests = []proto.Message{
	&metadatav1.CreateNamespaceRequest{}, &metadatav1.DropNamespaceRequest{},
	&metadatav1.CreateTableRequest{}, &metadatav1.AlterTableRequest{}, &metadatav1.DropTableRequest{},
	&metadatav1.RegisterNodeRequest{}, &metadatav1.UnregisterNodeRequest{}, &metadatav1.DrainNodeRequest{},
	&metadatav1.UpdateShardMapRequest{}, &metadatav1.ExpireNodeLease{}, &metadatav1.ReviveNode{},
	&metadatav1.ApplyBatchRequest{}, &timestamppb.Timestamp{},
	&metadatav1.CreateConsumerRequest{}, &metadatav1.OpenConsumerRequest{}, &metadatav1.AcknowledgeConsumerRequest{},
	&metadatav1.DeleteConsumerRequest{}, &metadatav1.SignHead{}, &metadatav1.TrimHistory{},
}

// FuzzDecide hands any bytes that are a message to the decisions: none panics,
// no rejection is a bug, and what is decided folds.
func FuzzDecide(f *testing.F) {
	add := func(cmd proto.Message) {
		raw, err := proto.Marshal(cmd)
		if err != nil {
			f.Fatal(err)
		}
		for i, r := range requests {
			if r.ProtoReflect().Descriptor() == cmd.ProtoReflect().Descriptor() {
				f.Add(byte(i), raw)
			}
		}
	}
	add(&metadatav1.CreateTableRequest{Table: wide("u", 2, 1)})
	add(addColumns(7, 2))
	add(&metadatav1.DropTableRequest{Table: &metadatav1.TableRef{Name: "t"}})
	add(&metadatav1.RegisterNodeRequest{Node: &metadatav1.NodeInfo{NodeId: "n", Addr: "[::1]:1", NodeType: 2}})
	add(&metadatav1.DrainNodeRequest{NodeId: "n"})
	add(split([]byte("z")))
	add(&metadatav1.UpdateShardMapRequest{Changes: []*metadatav1.ShardMapChange{
		{Action: &metadatav1.ShardMapChange_Merge{Merge: &metadatav1.MergeShards{ShardIds: []uint64{2, 3}, ExpectedVersions: []uint64{1, 1}}}},
		{Action: &metadatav1.ShardMapChange_Move{Move: &metadatav1.MoveShard{ShardId: 4, PrimaryNode: "n1"}}},
		{Action: &metadatav1.ShardMapChange_Put{Put: &metadatav1.PutShard{Shard: &metadatav1.ShardInfo{ShardId: 4, KeyRange: &metadatav1.KeyRange{Start: []byte("q")}, PrimaryNode: "n1"}}}},
	}})
	add(&metadatav1.ExpireNodeLease{NodeId: "n", Epoch: 1})
	add(manyTables(1))
	add(&metadatav1.ApplyBatchRequest{Commands: []*metadatav1.Command{{}, nil}})
	add(&metadatav1.CreateConsumerRequest{Consumer: &metadatav1.Consumer{
		Name: "d", Filter: onlySchema(), Position: &metadatav1.Position{SchemaRevision: 7}, Description: "x",
	}})
	add(&metadatav1.OpenConsumerRequest{Name: "c", Owner: "o"})
	add(&metadatav1.AcknowledgeConsumerRequest{Name: "c", Epoch: 3, Position: &metadatav1.Position{SchemaRevision: 7, TopologyRevision: 9}})
	add(&metadatav1.DeleteConsumerRequest{Name: "c1"})
	add(signed(metadatav1.Stream_STREAM_SCHEMA, 3))
	add(trimmed(metadatav1.Stream_STREAM_SCHEMA, 2, true))
	w := inhabited(f)
	f.Fuzz(func(t *testing.T, kind byte, raw []byte) {
		cmd := proto.Clone(requests[int(kind)%len(requests)])
		if proto.Unmarshal(raw, cmd) != nil {
			return
		}
		probe := *w
		probe.shardEpochs = make(map[uint64]uint64)
		probe.consumers, probe.floors = make(map[string]*metadatav1.Consumer), make(map[metadatav1.Stream]uint64)
		d, err := probe.try(t, commands.Env{Now: start}, cmd)
		if err == nil {
			probe.fold(d.Change)
			probe.check(t)
		}
	})
}

// TestNilsAreNoPanic covers messages that no wire brings, but Go callers can.
func TestNilsAreNoPanic(t *testing.T) {
	w := inhabited(t)
	for _, cmd := range []proto.Message{
		(*metadatav1.CreateTableRequest)(nil),
		(*metadatav1.RegisterNodeRequest)(nil),
		(*metadatav1.UpdateShardMapRequest)(nil),
		(*metadatav1.ApplyBatchRequest)(nil),
		(*metadatav1.CreateConsumerRequest)(nil),
		(*metadatav1.OpenConsumerRequest)(nil),
		(*metadatav1.AcknowledgeConsumerRequest)(nil),
		(*metadatav1.DeleteConsumerRequest)(nil),
		(*metadatav1.SignHead)(nil),
		(*metadatav1.TrimHistory)(nil),
		&metadatav1.AcknowledgeConsumerRequest{Name: "c", Epoch: 1},
		&metadatav1.CreateTableRequest{Table: &metadatav1.TableSchema{Name: "t", Columns: []*metadatav1.ColumnSchema{nil}}},
		&metadatav1.AlterTableRequest{Table: &metadatav1.TableRef{Name: "t"}, Alterations: []*metadatav1.TableAlteration{nil}},
		&metadatav1.AlterTableRequest{Table: &metadatav1.TableRef{Name: "t"}, Alterations: []*metadatav1.TableAlteration{
			{Action: &metadatav1.TableAlteration_ChangeColumn{}}, {Action: &metadatav1.TableAlteration_SetProperties{}},
		}},
		&metadatav1.UpdateShardMapRequest{Changes: []*metadatav1.ShardMapChange{nil}},
		&metadatav1.UpdateShardMapRequest{Changes: []*metadatav1.ShardMapChange{{Action: &metadatav1.ShardMapChange_Put{}}}},
		&metadatav1.UpdateShardMapRequest{Changes: []*metadatav1.ShardMapChange{{Action: &metadatav1.ShardMapChange_Merge{}}}},
		&metadatav1.ApplyBatchRequest{Commands: []*metadatav1.Command{nil}},
		&metadatav1.ApplyBatchRequest{Commands: []*metadatav1.Command{{Command: &metadatav1.Command_CreateTable{}}}},
	} {
		if _, err := w.try(t, commands.Env{Now: start}, cmd); err == nil {
			t.Errorf("%v is no rejection", cmd)
		}
	}
}
