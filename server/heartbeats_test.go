package server

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"pgregory.net/rapid"

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

// Beats that came in one message are answered in one, which says once what holds for
// all its leases.
func TestHeartbeatsTogether(t *testing.T) {
	w := start(t, Options{})
	for i := range 3 {
		must(w.rpc().RegisterNode(t.Context(), registerNode(fmt.Sprint("n", i), metadatav1.NodeType_NODE_TYPE_COMPUTE)))(t)
	}
	epoch := func(id string) uint64 {
		if n, ok := w.member.topology.Load().Model.Node(id); ok {
			return n.Epoch()
		}
		return 1
	}
	stream := must(w.rpc().StreamHeartbeats(t.Context()))(t)
	together := beat("n9", 1)
	for _, id := range []string{"n0", "n8", "n1"} {
		together.More = append(together.More, beat(id, epoch(id)).GetHeartbeat())
	}
	for _, m := range []*metadatav1.StreamHeartbeatsRequest{together, beat("n2", epoch("n2"))} {
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	got := must(stream.Receive())(t)
	if len(got.GetMore()) != 3 || got.GetRefused().GetNodeId() != "n9" || got.GetMore()[1].GetRefused().GetNodeId() != "n8" {
		t.Fatalf("got %v", got)
	}
	first, second := got.GetMore()[0].GetGranted(), got.GetMore()[2].GetGranted()
	if first.GetNodeId() != "n0" || first.GetPosition() == nil || first.GetLeaseDuration() == nil {
		t.Errorf("the first lease is %v", first)
	}
	if second.GetNodeId() != "n1" || second.GetPosition() != nil || second.GetLeaseDuration() != nil ||
		second.GetStatus() != metadatav1.NodeStatus_NODE_STATUS_ONLINE {
		t.Errorf("the second lease is %v", second)
	}
	if alone := must(stream.Receive())(t); alone.GetGranted().GetPosition() == nil || len(alone.GetMore()) > 0 {
		t.Errorf("the beat behind it is answered %v", alone)
	}
	tooMany := beat("n0", 1)
	for range maxMoreBeats + 1 {
		tooMany.More = append(tooMany.More, tooMany.GetHeartbeat())
	}
	if err := stream.Send(tooMany); err != nil {
		t.Fatal(err)
	}
	_, err := stream.Receive()
	wantFields(t, wantFailure(t, err, connect.CodeInvalidArgument, "INVALID_FIELD"), "more")
	_ = stream.CloseRequest()
	_ = stream.CloseResponse()
}

// What passes for simple without protovalidate is sound, and what clients send passes.
func TestSoundBeatsAreSound(t *testing.T) {
	validator := must(protovalidate.New())(t)
	text := rapid.OneOf(rapid.StringN(0, 140, 140), rapid.Just(""), rapid.StringN(32, 33, 132), rapid.StringOfN(rapid.Just('x'), 126, 130, 130))
	one := rapid.Custom(func(t *rapid.T) *metadatav1.HeartbeatRequest {
		b := &metadatav1.HeartbeatRequest{NodeId: text.Draw(t, "node"), Epoch: rapid.Uint64Range(0, 3).Draw(t, "epoch")}
		if rapid.Bool().Draw(t, "with a position") {
			b.Acknowledged = &metadatav1.Position{ClusterId: text.Draw(t, "cluster")}
		}
		if rapid.Bool().Draw(t, "with a load") {
			b.Load = &metadatav1.NodeLoad{CpuMillis: 1}
		}
		return b
	})
	rapid.Check(t, func(t *rapid.T) {
		m := &metadatav1.StreamHeartbeatsRequest{More: rapid.SliceOfN(one, 0, 3).Draw(t, "more")}
		if rapid.IntRange(0, 9).Draw(t, "beats") > 0 {
			m.Heartbeat = one.Draw(t, "beat")
		}
		if err := validator.Validate(m); err != nil && simple(m) {
			t.Fatalf("%v passes for simple: %v", m, err)
		}
	})
	good := &metadatav1.StreamHeartbeatsRequest{Heartbeat: &metadatav1.HeartbeatRequest{
		NodeId: "n", Epoch: 1, Acknowledged: &metadatav1.Position{ClusterId: testCluster.String()},
	}}
	for len(good.GetMore()) < maxMoreBeats {
		good.More = append(good.More, good.GetHeartbeat())
	}
	if !simple(good) {
		t.Error("what clients send is left to protovalidate")
	}
	good.More = append(good.More, good.GetHeartbeat())
	if simple(good) {
		t.Error("too many beats pass for simple")
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
