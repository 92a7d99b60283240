package member

import (
	"time"

	"github.com/google/uuid"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/leases"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/replica"
)

// leaseActor is the actor of liveness transitions in the history.
const leaseActor = "heliosmeta/leases"

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
