package client

import (
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/heliosdb/metadata/client/internal/frames"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// What a session says to the service: who it is, how busy, and what its cache shows.
func TestBeatsSayWhatTheNodeHasSeen(t *testing.T) {
	registered := replies(&metadatav1.RegisterNodeResponse{
		Node:          &metadatav1.NodeInfo{NodeId: "n", Epoch: 7},
		LeaseDuration: durationpb.New(time.Minute), HeartbeatInterval: durationpb.New(20 * time.Millisecond),
	})
	granted := replies(&metadatav1.HeartbeatResponse{NodeId: "n", LeaseDuration: durationpb.New(time.Minute)})
	f, c := startFakes(t, 1, fails(connect.CodeUnavailable, noLeader), registered, granted)
	cache := &Cache{client: c}
	cache.state.Store(&cacheState{view: &View{position: frames.At(1, 8, 9)}})
	s, err := c.JoinAsNode(t.Context(), JoinOptions{
		Node: &metadatav1.NodeInfo{NodeId: "n"}, Cache: cache, Departure: Stay,
		Load: func() *metadatav1.NodeLoad { return &metadatav1.NodeLoad{CpuMillis: 42} },
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Epoch() != 7 {
		t.Fatalf("joined with epoch %d", s.Epoch())
	}
	for deadline := time.Now().Add(10 * time.Second); len(f.all()) < 4 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	calls := f.all()
	if len(calls) < 4 {
		t.Fatalf("there were only %d calls", len(calls))
	}
	first, second := calls[0].request.(*metadatav1.RegisterNodeRequest), calls[1].request.(*metadatav1.RegisterNodeRequest)
	if first.GetNode().GetIncarnation() == "" || first.GetWrite().GetRequestId() == "" || !proto.Equal(first, second) {
		t.Fatalf("it registers by %v, then by %v", first, second)
	}
	for _, call := range calls[3:] {
		b, beat := call.request.(*metadatav1.HeartbeatRequest)
		if !beat || b.GetEpoch() != 7 || b.GetLoad().GetCpuMillis() != 42 || !proto.Equal(b.GetAcknowledged(), frames.At(1, 8, 9)) {
			t.Fatalf("it says %v", call.request)
		}
	}
}
