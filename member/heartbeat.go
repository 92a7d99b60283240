package member

import (
	"context"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/leases"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/replica"
)

// Heartbeat answers beats, in their order. The topology's leader alone grants
// leases; other members pass the beats on to it.
func (m *Member) Heartbeat(
	ctx context.Context, beats []*metadatav1.HeartbeatRequest,
) ([]*metadatav1.StreamHeartbeatsResponse, error) {
	r, err := m.awaitRunning(ctx)
	if err != nil {
		return refuseAll(beats, failure.As(err)), nil
	}
	ctx, cancel := context.WithTimeout(ctx, submitPatience)
	defer cancel()
	for {
		leader, moved := r.topology.leader(), r.topology.elected.next()
		if leader == m.identity.Member {
			return m.grant(ctx, r, beats), nil
		}
		if leader != 0 {
			if answers, ok := r.beats.pass(ctx, leader, beats); ok {
				return answers, nil
			}
		}
		if !m.waitFor(ctx, moved, retryAfter) {
			return refuseAll(beats, failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER,
				"the topology stream has no leader right now; beat again")), nil
		}
	}
}

// grant is Heartbeat on the topology's leader. What it tells a node it tells
// after a ReadIndex round that began after the beat arrived: a leader that was
// deposed without knowing grants nothing.
func (m *Member) grant(
	ctx context.Context, r *running, beats []*metadatav1.HeartbeatRequest,
) []*metadatav1.StreamHeartbeatsResponse {
	now := m.monotonic()
	heard := make([]leases.Verdict, len(beats))
	for i, b := range beats {
		heard[i] = r.leases.Beat(b.GetNodeId(), b.GetEpoch(), now, b.GetLoad(), b.GetAcknowledged())
	}
	term, leading := r.leases.Leading()
	_, confirmed, err := r.topology.read(ctx, replica.Read[*projections.TopologyModel]{Leading: true})
	if err == nil {
		err = r.topology.turnOver(ctx) // the lease table knows what the read saw only then
	}
	if err != nil || !leading || confirmed != term {
		return refuseAll(beats, failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER,
			"member %d does not lead the topology stream for certain; beat again", m.identity.Member))
	}
	answers := make([]*metadatav1.StreamHeartbeatsResponse, len(beats))
	position, lease := r.position(), durationpb.New(r.leases.Options().Lease)
	for i, b := range beats {
		verdict := r.leases.Check(b.GetNodeId(), b.GetEpoch())
		if heard[i].Outcome == leases.Expiring {
			verdict = heard[i] // the beat renewed nothing, even if the attempt has failed since
		}
		if f := verdict.Failure(); f != nil {
			answers[i] = refusal(b.GetNodeId(), f)
			continue
		}
		answers[i] = &metadatav1.StreamHeartbeatsResponse{Answer: &metadatav1.StreamHeartbeatsResponse_Granted{
			Granted: &metadatav1.HeartbeatResponse{
				LeaseDuration: lease, Status: verdict.Status, Position: position, NodeId: b.GetNodeId(),
			},
		}}
	}
	return answers
}

// serveBeats answers beats that another member passed on.
func (m *Member) serveBeats(ctx context.Context, r *running, payload []byte) ([]byte, error) {
	var forwarded metadatav1.ForwardedBeats
	if err := proto.Unmarshal(payload, &forwarded); err != nil {
		return nil, err
	}
	return proto.Marshal(&metadatav1.ForwardedBeatAnswers{Answers: m.grant(ctx, r, forwarded.GetBeats())})
}

func refusal(node string, f *failure.Error) *metadatav1.StreamHeartbeatsResponse {
	return &metadatav1.StreamHeartbeatsResponse{Answer: &metadatav1.StreamHeartbeatsResponse_Refused{
		Refused: &metadatav1.HeartbeatRefused{NodeId: node, Reason: failure.Name(f.Reason), Message: f.Message},
	}}
}

func refuseAll(beats []*metadatav1.HeartbeatRequest, f *failure.Error) []*metadatav1.StreamHeartbeatsResponse {
	answers := make([]*metadatav1.StreamHeartbeatsResponse, len(beats))
	for i, b := range beats {
		answers[i] = refusal(b.GetNodeId(), f)
	}
	return answers
}
