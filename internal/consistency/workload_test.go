package consistency

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func workload(seed uint64, o Options) *Workload {
	return NewWorkload(rand.New(rand.NewPCG(seed, 0)), o)
}

func TestWorkloadsOfOneSeedAreTheSame(t *testing.T) {
	a, b := workload(1, Options{}), workload(1, Options{})
	seen := make(map[string]int)
	for i := range 3000 {
		x, y := a.Next(i%3), b.Next(i%3)
		if !proto.Equal(x, y) {
			t.Fatalf("request %d is %v and %v", i, x, y)
		}
		if id := optionsOf(x).GetRequestId(); isWrite(x) && (len(id) != 16 || seen[id] > 0) {
			t.Fatalf("request %d has the request id %q", i, id)
		}
		seen[optionsOf(x).GetRequestId()]++
		seen[fmt.Sprintf("%T", x)]++
	}
	for _, m := range []proto.Message{
		&metadatav1.CreateTableRequest{}, &metadatav1.AlterTableRequest{}, &metadatav1.DropTableRequest{}, &metadatav1.CreateNamespaceRequest{},
		&metadatav1.DropNamespaceRequest{}, &metadatav1.ApplyBatchRequest{}, &metadatav1.RegisterNodeRequest{}, &metadatav1.UnregisterNodeRequest{},
		&metadatav1.DrainNodeRequest{}, &metadatav1.UpdateShardMapRequest{}, &metadatav1.HeartbeatRequest{}, &metadatav1.GetTableRequest{},
		&metadatav1.ListTablesRequest{}, &metadatav1.ListNamespacesRequest{}, &metadatav1.GetNodeRequest{}, &metadatav1.ListNodesRequest{},
		&metadatav1.GetShardRequest{}, &metadatav1.ListShardsRequest{}, &metadatav1.GetTopologyRequest{},
	} {
		if seen[fmt.Sprintf("%T", m)] < 10 {
			t.Errorf("%T was chosen %d times of 3000", m, seen[fmt.Sprintf("%T", m)])
		}
	}
}

func TestWorkloadLearns(t *testing.T) {
	r := newRun()
	o, a := r.create(1, "t1")
	w := workload(2, Options{Tables: 1})
	w.Learn(o)
	if got := w.Position(1); !proto.Equal(got, r.position()) || w.Position(2).GetSchemaRevision() != 0 {
		t.Fatalf("client 1 has seen %v, not %v", got, r.position())
	}
	expected, asked := 0, 0
	for range 500 {
		switch x := w.Next(1).(type) {
		case *metadatav1.AlterTableRequest:
			if x.GetTable().GetTableId() == a.GetTableId() || x.GetExpectedVersion() == a.GetVersion() {
				expected++
			}
		case *metadatav1.GetTableRequest:
			if x.GetRead().GetAtLeast().GetSchemaRevision() == 1 {
				asked++
			}
		}
	}
	if expected == 0 || asked == 0 {
		t.Errorf("of 500 requests %d name what was learnt of the table and %d the position", expected, asked)
	}
}

func TestQuietWorkloadsChangeNothing(t *testing.T) {
	w := workload(3, Options{Quiet: true})
	for range 500 {
		if x := w.Next(1); isWrite(x) {
			t.Fatalf("a quiet workload asks for %v", x)
		}
	}
}
