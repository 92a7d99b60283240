package commands_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/internal/workload"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// ordersBatch creates n of the tables that all measurements create, from a number on.
func ordersBatch(from, n int64) *metadatav1.ApplyBatchRequest {
	batch := new(metadatav1.ApplyBatchRequest)
	for i := range n {
		batch.Commands = append(batch.Commands, wrap(&metadatav1.CreateTableRequest{Table: workload.Table("", from+i)}))
	}
	return batch
}

// measured are commands with the allocations that deciding each takes.
var measured = []struct {
	name   string
	cmd    proto.Message
	allocs float64
}{
	{"create", &metadatav1.CreateTableRequest{Table: workload.Table("", 5000)}, 17},
	{"alter", &metadatav1.AlterTableRequest{
		Table:       &metadatav1.TableRef{Name: workload.TableName(5)},
		Alterations: []*metadatav1.TableAlteration{{Action: &metadatav1.TableAlteration_SetComment{SetComment: &metadatav1.SetComment{Comment: "new"}}}},
	}, 27},
	{"batch of 100", ordersBatch(5000, 100), 1246},
}

// measuredWorld has a thousand tables.
func measuredWorld(t testing.TB) *world {
	w := newWorld()
	d, err := commands.Schema(w.schema, commands.Env{Now: start}, ordersBatch(0, 1000))
	if err != nil {
		t.Fatal(err)
	}
	w.fold(d.Change)
	return w
}

// TestDecidingAllocatesLittle guards what deciding costs the leader, which does it
// for all writes in one goroutine.
func TestDecidingAllocatesLittle(t *testing.T) {
	w := measuredWorld(t)
	env := commands.Env{Now: start, Actor: "bench", RequestID: "r"}
	for _, c := range measured {
		got := testing.AllocsPerRun(50, func() {
			if _, err := commands.Schema(w.schema, env, c.cmd); err != nil {
				t.Fatal(err)
			}
		})
		if got > c.allocs {
			t.Errorf("deciding %s allocates %v times, at most %v expected", c.name, got, c.allocs)
		}
	}
}

// BenchmarkDecide measures deciding, and folding what was decided.
func BenchmarkDecide(b *testing.B) {
	w := measuredWorld(b)
	env := commands.Env{Now: start, Actor: "bench", RequestID: "r"}
	for _, c := range measured {
		d, err := commands.Schema(w.schema, env, c.cmd)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := commands.Schema(w.schema, env, c.cmd); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/fold", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.schema.Draft().Fold(d.Change)
			}
		})
	}
}
