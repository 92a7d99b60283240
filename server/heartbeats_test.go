package server

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/grpc"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/proto/heliosdb/metadata/v1/metadatav1connect"
)

func beat(node string, epoch uint64) *metadatav1.StreamHeartbeatsRequest {
	return &metadatav1.StreamHeartbeatsRequest{Heartbeat: &metadatav1.HeartbeatRequest{NodeId: node, Epoch: epoch}}
}

// Answers come in the order of the beats, many to one call of the member, and a
// refused beat does not end the stream.
func TestHeartbeatStream(t *testing.T) {
	w := start(t, Options{})
	rpc := w.rpc()
	epochs := make(map[string]uint64)
	for i := range 3 {
		id := fmt.Sprintf("n%d", i)
		answer := must(rpc.RegisterNode(t.Context(), registerNode(id, metadatav1.NodeType_NODE_TYPE_COMPUTE)))(t)
		epochs[id] = answer.GetNode().GetEpoch()
	}
	const beats = 2000 // several times what may be in flight
	stream := must(rpc.StreamHeartbeats(t.Context()))(t)
	sent := make(chan error, 1)
	go func() {
		for i := range beats {
			id := fmt.Sprintf("n%d", i%4) // n3 is unknown
			if err := stream.Send(beat(id, max(1, epochs[id]))); err != nil {
				sent <- err
				return
			}
		}
		sent <- stream.CloseRequest()
	}()
	for i := range beats {
		answer := must(stream.Receive())(t)
		id := fmt.Sprintf("n%d", i%4)
		switch {
		case id == "n3" && (answer.GetRefused().GetNodeId() != id || answer.GetRefused().GetReason() != "NOT_FOUND"),
			id != "n3" && answer.GetGranted().GetNodeId() != id:
			t.Fatalf("beat %d of %s is answered %v", i, id, answer)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
		t.Fatalf("the stream ends with %v", err)
	}
	if err := stream.CloseResponse(); err != nil {
		t.Fatal(err)
	}
	if calls := w.member.beats.Load(); calls > beats {
		t.Fatalf("%d calls for %d beats", calls, beats)
	}
	granted := must(rpc.Heartbeat(t.Context(), beat("n1", epochs["n1"]).GetHeartbeat()))(t)
	if granted.GetNodeId() != "n1" || granted.GetStatus() != metadatav1.NodeStatus_NODE_STATUS_ONLINE {
		t.Fatalf("a single beat is answered %v", granted)
	}
}

// An election refuses beats; the stream goes on.
func TestHeartbeatStreamOutlivesAnElection(t *testing.T) {
	w := start(t, Options{})
	electing := true
	w.member.onBeats = func([]*metadatav1.HeartbeatRequest) error {
		if electing {
			return failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER, "the topology has no leader")
		}
		return nil
	}
	node := must(w.rpc().RegisterNode(t.Context(), registerNode("n", metadatav1.NodeType_NODE_TYPE_COMPUTE)))(t).GetNode()
	// A stock client, for a change.
	stream := must(w.grpc().NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		metadatav1connect.MetadataServiceStreamHeartbeatsProcedure))(t)
	ask := func() *metadatav1.StreamHeartbeatsResponse {
		t.Helper()
		if err := stream.SendMsg(beat("n", node.GetEpoch())); err != nil {
			t.Fatal(err)
		}
		answer := new(metadatav1.StreamHeartbeatsResponse)
		if err := stream.RecvMsg(answer); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	if got := ask(); got.GetRefused().GetReason() != "NO_LEADER" || got.GetRefused().GetNodeId() != "n" {
		t.Fatalf("without leader: %v", got)
	}
	electing = false
	if got := ask(); got.GetGranted() == nil {
		t.Fatalf("with a leader again: %v", got)
	}
}

// Each beat is checked; one that breaks a rule of the contract ends the stream.
func TestHeartbeatStreamRefusesBadBeats(t *testing.T) {
	w := start(t, Options{})
	stream := must(w.rpc().StreamHeartbeats(t.Context()))(t)
	for _, b := range []*metadatav1.StreamHeartbeatsRequest{beat("n", 1), beat("", 1)} {
		if err := stream.Send(b); err != nil {
			t.Fatal(err)
		}
	}
	must(stream.Receive())(t)
	_, err := stream.Receive()
	wantFields(t, wantFailure(t, err, connect.CodeInvalidArgument, "INVALID_FIELD"), "heartbeat.node_id")
	_ = stream.CloseRequest()
	_ = stream.CloseResponse()
}
