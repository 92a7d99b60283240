package commands_test

import (
	"fmt"
	"testing"

	"github.com/heliosdb/metadata/commands"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// BenchmarkCreateTable measures deciding, with and without folding the change,
// on a schema that has many tables already.
func BenchmarkCreateTable(b *testing.B) {
	for _, columns := range []int{10, 100} {
		w := newWorld()
		for from := range 10 {
			batch := new(metadatav1.ApplyBatchRequest)
			for i := range 1000 {
				batch.Commands = append(batch.Commands, wrap(&metadatav1.CreateTableRequest{Table: wide(fmt.Sprintf("t%d", from*1000+i), 10, 0)}))
			}
			d, err := commands.Schema(w.schema, commands.Env{Now: start}, batch)
			if err != nil {
				b.Fatal(err)
			}
			w.fold(d.Change)
		}
		cmd := &metadatav1.CreateTableRequest{Table: wide("new", columns, 0)}
		env := commands.Env{Now: start, Actor: "bench", RequestID: "r"}
		b.Run(fmt.Sprintf("decide/columns=%d", columns), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := commands.Schema(w.schema, env, cmd); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("decide+fold/columns=%d", columns), func(b *testing.B) {
			b.ReportAllocs()
			state := w.schema
			next := 0
			for b.Loop() {
				next++
				cmd.Table.Name = fmt.Sprintf("new%d", next)
				d, err := commands.Schema(state, commands.Env{Now: start, RequestID: cmd.Table.Name}, cmd)
				if err != nil {
					b.Fatal(err)
				}
				state = state.Fold(d.Change)
			}
		})
	}
}

// BenchmarkMoveShard measures a change of a map of 10,000 shards, holes included.
func BenchmarkMoveShard(b *testing.B) {
	w := newWorld()
	for _, id := range []string{"n", "m"} {
		d, err := commands.Topology(w.topology, commands.Env{Now: start}, &metadatav1.RegisterNodeRequest{
			Node: &metadatav1.NodeInfo{NodeId: id, Addr: "h:1", NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE},
		})
		if err != nil {
			b.Fatal(err)
		}
		w.fold(d.Change)
	}
	var ranges []*metadatav1.KeyRange
	for i := range 9_999 {
		ranges = append(ranges, &metadatav1.KeyRange{Start: fmt.Appendf(nil, "%05d", i), End: fmt.Appendf(nil, "%05d", i+1)})
	}
	cmd := putShards(ranges...)
	cmd.Changes = cmd.Changes[1:]
	d, err := commands.Topology(w.topology, commands.Env{Now: start}, cmd)
	if err != nil {
		b.Fatal(err)
	}
	w.fold(d.Change)
	move := &metadatav1.UpdateShardMapRequest{Changes: []*metadatav1.ShardMapChange{{Action: &metadatav1.ShardMapChange_Move{
		Move: &metadatav1.MoveShard{ShardId: 77, PrimaryNode: "m"},
	}}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := commands.Topology(w.topology, commands.Env{Now: start}, move); err != nil {
			b.Fatal(err)
		}
	}
}
