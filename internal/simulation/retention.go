package simulation

import (
	"math/rand/v2"
	"slices"
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history/retention"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// Histories are trimmed as package member does it: the same code decides.

// retentionActor is the actor of trims.
const retentionActor = "heliosmeta/retention"

func drawRetention(rng *rand.Rand) retention.Policy {
	p := retention.Policy{MaxAge: pick(rng, 0, 0, 5*time.Second, 20*time.Second), MaxBytes: pick[uint64](rng, 0, 2000, 10_000)}
	if rng.IntN(2) == 0 {
		p.HardBytes = max(2*p.MaxBytes, 5000)
	}
	return p
}

// policyOf returns how much of a stream's history is kept.
func (w *world) policyOf(s metadatav1.Stream) retention.Policy {
	if s == metadatav1.Stream_STREAM_SERVICE {
		return retention.Policy{MaxChanges: 100}
	}
	return w.plan.retention
}

// watchRetention looks at the histories now and then.
func (m *member) watchRetention() {
	m.later(m.w.plan.retain, func() {
		for _, s := range streams {
			m.lookAtHistory(s, m.w.policyOf(s))
		}
		m.watchRetention()
	})
}

// agreedTime returns what time it is for a majority of the members, of those that run. That they
// are asked over the network makes no difference: clocks are off by hours.
func (w *world) agreedTime() time.Time {
	var clocks []time.Time
	for _, m := range w.members {
		if m.run != nil && !m.paused {
			clocks = append(clocks, m.wall())
		}
	}
	return retention.Agreed(clocks, len(w.members))
}

// lookAtHistory has a history trimmed, if this member leads the service stream and the policy
// wants it; false if not.
func (m *member) lookAtHistory(s metadatav1.Stream, policy retention.Policy) bool {
	soft := m.run.service.softState()
	verdict, err := policy.Decide(m.store, s, m.w.agreedTime(), retention.KeptOf(m.run.service.replica.View().Model, s))
	if err != nil {
		m.log("%s: where it should begin cannot be told: %v", s, err)
		return false
	}
	if verdict.Floor == nil || soft.Role != raftlog.Leader {
		return false
	}
	if verdict.Pass {
		m.notePassed(s, verdict.Floor.GetOldestRevision())
	}
	m.run.service.submit(replica.Request{
		Command: verdict.Command(), Term: soft.Term,
		Env: commands.Env{Now: m.wall(), Actor: retentionActor, RequestID: m.w.newID()},
		Done: func(a replica.Answer) {
			if a.Err != nil && failure.As(a.Err).Kind() == failure.Invalid {
				m.w.violate("trim", "member %d: %v", m.id, a.Err)
			}
		},
	})
	return true
}

// passing names a decision that passes consumers.
type passing struct {
	stream metadatav1.Stream
	floor  uint64
}

// notePassed remembers, for the judge, how much the deciding member holds of what each consumer needs
// that is passed.
func (m *member) notePassed(s metadatav1.Stream, floor uint64) {
	needed := make(map[string]uint64)
	for consumer := range m.run.service.replica.View().Model.Behind(s, floor) {
		size, err := m.store.HistoryBytes(groupOf(s), consumer.Revision(s)+1)
		if err != nil {
			m.w.violate("floor", "member %d: %v", m.id, err)
		}
		needed[consumer.Name()] = size
	}
	m.w.judge.passing[passing{s, floor}] = needed
}

// trimHistory has the leader of the service stream keep next to nothing of a history, often
// not what subscribers might resume from, but what consumers need.
func (w *world) trimHistory() bool {
	s := pick(w.rng, streams...)
	keep := 1 + w.rng.Uint64N(10)
	for _, m := range w.members {
		if m.run != nil && m.run.service.softState().Role == raftlog.Leader && !m.paused {
			return m.lookAtHistory(s, retention.Policy{MaxChanges: keep})
		}
	}
	return false
}

// trimmed judges where a history is made to begin: at the beginning of what was agreed on
// together, with the digest before it, and not behind what consumers need, unless the hard
// limit passes them, which is said.
func (j *judge) trimmed(ch *events.Change) {
	if ch.Stream() != metadatav1.Stream_STREAM_SERVICE {
		return
	}
	before := j.pasts.service.newest().Model
	for _, e := range ch.Events() {
		t := e.Message().GetHistoryTrimmed()
		if t == nil {
			continue
		}
		f := t.GetFloor()
		s, oldest := f.GetStream(), f.GetOldestRevision()
		c := j.chain(s)
		j.w.counts.add("histories trimmed", 1)
		if oldest == 0 || oldest > uint64(len(c.changes)) || events.Digest(f.GetPreviousDigest()) != c.digests[oldest-1] {
			j.w.violate("floor", "the history of the %s is to begin at revision %d with digest %x", s, oldest, f.GetPreviousDigest())
			return
		}
		var behind []string
		for consumer := range before.Behind(s, oldest) {
			if consumer.Revision(s)+1 < before.Floor(s).OldestRevision() {
				continue // it was passed before
			}
			behind = append(behind, consumer.Name())
		}
		if !slices.Equal(behind, t.GetPassedConsumers()) {
			j.w.violate("floor", "the history of the %s begins at revision %d, consumers %v need what is before, and %v are said to", s, oldest, behind, t.GetPassedConsumers())
		}
		if len(behind) == 0 {
			continue
		}
		j.w.counts.add("consumers passed", 1)
		j.overHardLimit(s, oldest, behind)
	}
}

// overHardLimit judges that consumers are passed only if what they need was over the hard limit on
// the member that decided.
func (j *judge) overHardLimit(s metadatav1.Stream, oldest uint64, passed []string) {
	limit, decided := j.w.policyOf(s).HardBytes, j.passing[passing{s, oldest}]
	for _, name := range passed {
		if needed := decided[name]; limit == 0 || needed <= limit {
			j.w.violate("floor", "the history of the %s begins at revision %d although consumer %s needs what is before, %d bytes with all behind it, and the hard limit is %d",
				s, oldest, name, needed, limit)
		}
	}
}

// floor returns the oldest revision of a stream that members keep.
func (j *judge) floor(s metadatav1.Stream) uint64 {
	return j.pasts.service.newest().Model.Floor(s).OldestRevision()
}
