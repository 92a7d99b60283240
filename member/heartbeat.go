package member

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
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

// MaxBeats is how many beats one call of Heartbeat may carry.
const MaxBeats = 10_000

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
	for _, b := range beats {
		r.leases.Beat(b.GetNodeId(), b.GetEpoch(), now, b.GetLoad(), b.GetAcknowledged())
	}
	term, leading := r.leases.Leading()
	_, confirmed, err := r.topology.read(ctx, replica.Read[*projections.TopologyModel]{Leading: true})
	if err != nil || !leading || confirmed != term {
		return refuseAll(beats, failure.New(metadatav1.ErrorReason_ERROR_REASON_NO_LEADER,
			"member %d does not lead the topology stream for certain; beat again", m.identity.Member))
	}
	answers := make([]*metadatav1.StreamHeartbeatsResponse, len(beats))
	position, lease := r.position(), durationpb.New(r.leases.Options().Lease)
	for i, b := range beats {
		verdict := r.leases.Check(b.GetNodeId(), b.GetEpoch())
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

// watchLeases keeps the lease table in step with the topology stream. It runs on
// the stream's goroutine.
func (m *Member) watchLeases(r *running) {
	s := r.topology
	s.onLeading = func(l replica.Leading) {
		if !l.Now {
			r.leases.Stop()
			return
		}
		r.leases.Lead(l.Term, func(yield func(leases.Node) bool) {
			for n := range s.replica.View().Model.Liveness.Nodes() {
				if !yield(leases.Node{ID: n.ID, Epoch: n.Epoch, Status: n.Status}) {
					return
				}
			}
		}, m.monotonic())
	}
	s.onApplied = func(changes []*events.Change) {
		now := m.monotonic()
		for _, c := range changes {
			r.leases.Fold(c, now)
		}
	}
}

// expire submits the transitions that are due. It is called on every tick.
func (m *Member) expire(r *running) {
	for _, t := range r.leases.Tick(m.monotonic()) {
		r.topology.inputs.push(func() {
			if !r.leases.Due(t) {
				return
			}
			r.topology.replica.Submit(replica.Request{
				Command: t.Command(), Term: t.Term,
				Env: commands.Env{Now: m.config.Now(), Actor: leaseActor, RequestID: uuid.Must(uuid.NewV7()).String()},
				Done: func(a replica.Answer) {
					if a.Err != nil && !failure.Is(a.Err, metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN) {
						r.leases.Failed(t, m.monotonic())
					}
				},
			})
		})
	}
}

// monotonic returns the time since the member was made, unmoved by changes of the
// wall clock.
func (m *Member) monotonic() time.Duration { return time.Since(m.made) }

// beatForwarder gathers beats for the leader: those that arrive while one call
// is under way go together in the next.
type beatForwarder struct {
	m  *Member
	mu sync.Mutex
	// waiting are beats that no call carries yet; calling says that one is under way.
	waiting map[uint64][]*waitingBeats
	calling map[uint64]bool
}

// waitingBeats are the beats of one call of Heartbeat.
type waitingBeats struct {
	beats  []*metadatav1.HeartbeatRequest
	answer chan []*metadatav1.StreamHeartbeatsResponse // nil: not answered
}

func newBeatForwarder(m *Member) *beatForwarder {
	return &beatForwarder{m: m, waiting: make(map[uint64][]*waitingBeats), calling: make(map[uint64]bool)}
}

// pass sends beats to the leader; false if it did not answer.
func (f *beatForwarder) pass(
	ctx context.Context, leader uint64, beats []*metadatav1.HeartbeatRequest,
) ([]*metadatav1.StreamHeartbeatsResponse, bool) {
	w := &waitingBeats{beats: beats, answer: make(chan []*metadatav1.StreamHeartbeatsResponse, 1)}
	f.mu.Lock()
	f.waiting[leader] = append(f.waiting[leader], w)
	start := !f.calling[leader]
	f.calling[leader] = true
	f.mu.Unlock()
	if start {
		f.m.background.Go(func() { f.run(leader) })
	}
	select {
	case answers := <-w.answer:
		return answers, answers != nil
	case <-ctx.Done():
		return nil, false
	}
}

// run makes calls to the leader as long as beats wait for it.
func (f *beatForwarder) run(leader uint64) {
	for {
		f.mu.Lock()
		group := f.take(leader)
		if len(group) == 0 {
			f.calling[leader] = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		f.call(leader, group)
	}
}

// take removes what one call may carry from the waiting beats.
func (f *beatForwarder) take(leader uint64) []*waitingBeats {
	all, n, beats := f.waiting[leader], 0, 0
	for n < len(all) && (n == 0 || beats+len(all[n].beats) <= MaxBeats) {
		beats += len(all[n].beats)
		n++
	}
	f.waiting[leader] = all[n:]
	if n == len(all) {
		delete(f.waiting, leader)
	}
	return all[:n]
}

// call carries a group of beats to the leader and hands out the answers.
func (f *beatForwarder) call(leader uint64, group []*waitingBeats) {
	ctx, cancel := context.WithTimeout(f.m.ctx, submitPatience)
	defer cancel()
	var forwarded metadatav1.ForwardedBeats
	for _, w := range group {
		forwarded.Beats = append(forwarded.Beats, w.beats...)
	}
	var answers metadatav1.ForwardedBeatAnswers
	payload, err := proto.Marshal(&forwarded)
	if err == nil {
		payload, err = f.m.transport.Call(ctx, leader, methodBeats, payload)
	}
	if err == nil {
		err = proto.Unmarshal(payload, &answers)
	}
	all := answers.GetAnswers()
	if err != nil || len(all) != len(forwarded.GetBeats()) {
		f.m.log.Debug("beats not passed on", "leader", leader, "beats", len(forwarded.GetBeats()), "error", err)
		all = nil
	}
	for _, w := range group {
		if all == nil {
			w.answer <- nil
			continue
		}
		w.answer <- all[:len(w.beats)]
		all = all[len(w.beats):]
	}
}
