package member

import (
	"context"
	"time"

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
	deadline := time.Now().Add(submitPatience)
	ctx, cancel := context.WithDeadline(ctx, deadline)
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
		if !waitFor(ctx, moved, retryAfter, deadline) {
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
	heard := r.leases.BeatAll(make([]leases.Verdict, 0, len(beats)), beats, m.monotonic())
	term, leading := r.leases.Leading()
	_, confirmed, err := r.topology.settled(ctx, replica.Read[*projections.TopologyModel]{Leading: true})
	if err != nil || !leading || confirmed != term {
		return refuseAll(beats, failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER,
			"member %d does not lead the topology stream for certain; beat again", m.identity.Member))
	}
	r.leases.CheckAll(heard)
	answers := make([]*metadatav1.StreamHeartbeatsResponse, len(beats))
	grants := make([]grant, len(beats))
	position, lease := r.position(), durationpb.New(r.leases.Options().Lease)
	for i := range heard {
		if f := heard[i].Failure(); f != nil {
			answers[i] = refusal(beats[i].GetNodeId(), f)
			continue
		}
		g := &grants[i]
		g.lease.LeaseDuration, g.lease.Status = lease, heard[i].Status
		g.lease.Position, g.lease.NodeId = position, beats[i].GetNodeId()
		g.granted.Granted = &g.lease
		g.answer.Answer = &g.granted
		answers[i] = &g.answer
	}
	return answers
}

// grant is all that an answer consists of, so that many answers are one allocation.
type grant struct {
	answer  metadatav1.StreamHeartbeatsResponse
	granted metadatav1.StreamHeartbeatsResponse_Granted
	lease   metadatav1.HeartbeatResponse
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
