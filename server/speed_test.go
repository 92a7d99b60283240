package server

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/internal/workload"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func measuredEdge(t testing.TB) *edge {
	validator, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	return &edge{validator: validator, metrics: NewMetrics(), log: slog.New(slog.DiscardHandler), now: time.Now}
}

// TestTheEdgeAllocatesLittle guards what each call costs before and after its handler.
func TestTheEdgeAllocatesLittle(t *testing.T) {
	e := measuredEdge(t)
	request := &metadatav1.CreateTableRequest{Table: workload.Table("", 1)}
	if n := testing.AllocsPerRun(100, func() {
		if err := e.check(request); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("checking a table allocates %v times, not at all expected", n)
	}
	spec := connect.Spec{StreamType: connect.StreamTypeUnary, Procedure: "/a/b"}
	if n := testing.AllocsPerRun(100, func() { e.begin(spec)(nil) }); n > 1 {
		t.Errorf("measuring a call allocates %v times, at most 1 expected", n)
	}
}

// TestAdmittingAllocatesLittle guards what each gRPC call costs at the gate.
func TestAdmittingAllocatesLittle(t *testing.T) {
	m := NewMetrics()
	n := &native{service: service{&Server{gate: newGate(Limits{}.withDefaults(), m, time.Now, func() bool { return false }, func() string { return "" })}}}
	ctx := peer.NewContext(metadata.NewIncomingContext(t.Context(), metadata.Pairs("user-agent", "some", actorKey, "who")),
		&peer.Peer{AuthInfo: arrived{addr: "127.0.0.1:1"}})
	spec := connect.Spec{StreamType: connect.StreamTypeUnary, Procedure: "/a/b"}
	admit := func() context.Context {
		admitted, leave, err := n.admit(ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		leave()
		return admitted
	}
	if got := callerOf(admit()); got.actor != "who" || got.peer.Addr != "127.0.0.1:1" {
		t.Fatalf("the caller is %v", got)
	}
	// The call, its contexts and what they hold, and the actor in a header.
	if n := testing.AllocsPerRun(100, func() { admit() }); n > 7 {
		t.Errorf("admitting a call allocates %v times, at most 7 expected", n)
	}
	if n := testing.AllocsPerRun(100, func() { _ = clean(" 127.0.0.1 ") }); n != 0 {
		t.Errorf("cleaning a name allocates %v times, not at all expected", n)
	}
}

// BenchmarkCheck measures what the edge does to each request.
func BenchmarkCheck(b *testing.B) {
	e := measuredEdge(b)
	batch := new(metadatav1.ApplyBatchRequest)
	for i := range int64(100) {
		batch.Commands = append(batch.Commands, &metadatav1.Command{Command: &metadatav1.Command_CreateTable{
			CreateTable: &metadatav1.CreateTableRequest{Table: workload.Table("", i)},
		}})
	}
	for _, c := range []struct {
		name    string
		request proto.Message
	}{
		{"create", &metadatav1.CreateTableRequest{Table: workload.Table("", 1)}},
		{"batch of 100", batch},
		{"get", &metadatav1.GetTableRequest{Table: &metadatav1.TableRef{Name: "t"}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := e.check(c.request); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
