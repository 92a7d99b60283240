package member

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// NodeReports returns what nodes have said in their latest beats. The topology's leader alone
// knows it; other members ask it, and all wait a little while there is none.
func (m *Member) NodeReports(ctx context.Context, q *metadatav1.NodeReportsRequest) (*metadatav1.NodeReportsResponse, error) {
	r, err := m.awaitRunning(ctx)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(submitPatience)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	err = failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER, "the topology stream has no leader right now; ask again")
	for {
		leader, moved := r.topology.leader(), r.topology.elected.next()
		var answer *metadatav1.NodeReportsResponse
		switch leader {
		case 0:
		case m.identity.Member:
			answer, err = m.ownReports(r, q)
		default:
			answer, err = m.askReports(ctx, leader, q)
		}
		if answer != nil {
			return answer, nil
		}
		if !waitFor(ctx, moved, retryAfter, deadline) {
			return nil, err
		}
	}
}

// askReports asks the leader.
func (m *Member) askReports(ctx context.Context, leader uint64, q *metadatav1.NodeReportsRequest) (*metadatav1.NodeReportsResponse, error) {
	payload, err := proto.Marshal(q)
	if err == nil {
		payload, err = m.transport.Call(ctx, leader, methodReports, payload)
	}
	answer := new(metadatav1.NodeReportsResponse)
	if err == nil {
		err = proto.Unmarshal(payload, answer)
	}
	if err != nil {
		return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER,
			"member %d, which leads the topology stream, does not say what it has heard of nodes (%v); ask again", leader, err)
	}
	return answer, nil
}

// serveReports answers another member.
func (m *Member) serveReports(r *running, payload []byte) ([]byte, error) {
	q := new(metadatav1.NodeReportsRequest)
	if err := proto.Unmarshal(payload, q); err != nil {
		return nil, err
	}
	answer, err := m.ownReports(r, q)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(answer)
}

// ownReports is NodeReports on the topology's leader. It makes no ReadIndex round: what it
// knows is soft and has an age.
func (m *Member) ownReports(r *running, q *metadatav1.NodeReportsRequest) (*metadatav1.NodeReportsResponse, error) {
	answer := &metadatav1.NodeReportsResponse{Leader: m.identity.Member}
	term, leading := r.leases.Leading()
	asked := make(map[string]bool, len(q.GetNodeIds()))
	for _, id := range q.GetNodeIds() {
		report, ok := r.leases.Report(id, m.monotonic())
		if !ok || report.Beats == 0 || asked[id] {
			continue
		}
		asked[id] = true
		answer.Reports = append(answer.Reports, &metadatav1.NodeReport{
			NodeId: id, Epoch: report.Node.Epoch, Age: durationpb.New(report.Silent),
			Load: report.Load, Acknowledged: report.Acknowledged, LeaseRemaining: durationpb.New(report.Remaining),
		})
	}
	// What was heard is forgotten when leadership ends: unknown must not look like unheard.
	if now, still := r.leases.Leading(); !leading || !still || now != term {
		return nil, failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER,
			"member %d has not begun to lead the topology stream; ask again", m.identity.Member)
	}
	return answer, nil
}
