package simulation

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/leases"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/replica"
)

// leaseActor is the actor of liveness transitions in the history.
const leaseActor = "heliosmeta/leases"

// watchLeases keeps the lease table in step with the topology stream.
func (m *member) watchLeases() {
	r := m.run
	r.topology.onLeading = func(l replica.Leading) {
		if !l.Now {
			r.leases.Stop()
			return
		}
		r.leases.Lead(l.Term, func(yield func(leases.Node) bool) {
			for n := range r.topology.replica.View().Model.Liveness.Nodes() {
				if !yield(leases.Node{ID: n.ID, Epoch: n.Epoch, Status: n.Status}) {
					return
				}
			}
		}, m.monotonic())
	}
	r.topology.onApplied = func(changes []*events.Change) {
		for _, c := range changes {
			r.leases.Fold(c, m.monotonic())
		}
	}
}

// expire submits the transitions that are due.
func (m *member) expire() {
	r := m.run
	for _, t := range r.leases.Tick(m.monotonic()) {
		r.topology.push(func() {
			if !r.leases.Due(t) {
				return
			}
			m.w.counts.add("lease transitions", 1)
			id := m.w.newID()
			m.w.judge.leases.expiring(id)
			r.topology.replica.Submit(replica.Request{
				Command: t.Command(), Term: t.Term,
				Env: commands.Env{Now: m.wall(), Actor: leaseActor, RequestID: id},
				Done: func(a replica.Answer) {
					if a.Err != nil && !failure.Is(a.Err, metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN) {
						r.leases.Failed(t, m.monotonic())
					}
				},
			})
		})
	}
}

// heartbeat answers a beat here, if this member leads the topology, or passes it on.
func (m *member) heartbeat(beat *metadatav1.HeartbeatRequest, done func(proto.Message, error)) {
	m.w.counts.add("beats", 1)
	leader := m.run.topology.softState().Leader
	switch leader {
	case m.id:
		m.grant(beat, done)
	case 0:
		done(nil, noTopologyLeader())
	default:
		m.callPeer(leader, beatPatience, func(peer *member, answer func(any, error)) {
			if peer.run == nil {
				answer(nil, noTopologyLeader())
				return
			}
			peer.grant(proto.CloneOf(beat), func(reply proto.Message, err error) { answer(reply, err) })
		}, func(reply any, err error) {
			response, _ := reply.(proto.Message)
			if err != nil && failure.As(err) == nil {
				err = noTopologyLeader()
			}
			done(response, err)
		})
	}
}

// beatPatience bounds how long a beat waits for the leader's answer.
const beatPatience = 3 * time.Second

func noTopologyLeader() error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER, "the topology stream has no leader right now; beat again")
}

// grant answers a beat on the topology's leader, after a ReadIndex round that began
// after it arrived.
func (m *member) grant(beat *metadatav1.HeartbeatRequest, done func(proto.Message, error)) {
	r := m.run
	heard := r.leases.Beat(beat.GetNodeId(), beat.GetEpoch(), m.monotonic(), beat.GetLoad(), beat.GetAcknowledged())
	term, leading := r.leases.Leading()
	r.topology.read(replica.Read[*projections.TopologyModel]{Leading: true, Done: func(a replica.ReadAnswer[*projections.TopologyModel]) {
		if a.Err != nil || !leading || a.Term != term {
			done(nil, noTopologyLeader())
			return
		}
		// The lease table is told of what the read saw when this turn is over.
		r.topology.push(func() { m.verdict(r, beat, heard, done) })
	}})
}

// verdict says whether the lease is granted.
func (m *member) verdict(r *running, beat *metadatav1.HeartbeatRequest, heard leases.Verdict, done func(proto.Message, error)) {
	verdict := r.leases.Check(beat.GetNodeId(), beat.GetEpoch())
	if heard.Outcome == leases.Expiring {
		verdict = heard // the beat renewed nothing, even if the attempt has failed since
	}
	if f := verdict.Failure(); f != nil {
		done(nil, f)
		return
	}
	m.w.counts.add("leases granted", 1)
	done(&metadatav1.HeartbeatResponse{
		LeaseDuration: durationpb.New(r.leases.Options().Lease), Status: verdict.Status,
		Position: r.position(), NodeId: beat.GetNodeId(),
	}, nil)
}
