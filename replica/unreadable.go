package replica

import (
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/heliosdb/metadata/raftlog"
)

// A replica stops when its leader offers a checkpoint that only a newer build can read: it
// cannot follow any more, and has to say so. But a flipped bit looks the same, so no
// message alone stops it: raft offers again what was not taken.
const (
	unreadableTimes = 3
	unreadableTicks = 5 * raftlog.DefaultElectionTicks
)

// unreadable counts the offers that this build cannot read, while one member leads one term
// and nothing else brings this replica on.
type unreadable struct {
	leader, term, applied uint64
	times                 int
	since                 uint64 // tick of the first one
}

// offeredUnreadable refuses a checkpoint for which this build is too old, and stops the
// replica when the leader insists on it.
func (r *Replica[D]) offeredUnreadable(from uint64, m *pb.Message, cause error) error {
	index := m.GetSnapshot().GetMetadata().GetIndex()
	if from != r.soft.Leader || m.GetTerm() != r.soft.Term {
		return fmt.Errorf("replica: stream %s: member %d, not known to lead term %d, offers the checkpoint at index %d: %w",
			r.name, from, m.GetTerm(), index, cause)
	}
	u := &r.unread
	if u.leader != from || u.term != r.soft.Term || u.applied != r.applied {
		*u = unreadable{leader: from, term: r.soft.Term, applied: r.applied, since: r.ticks}
	}
	u.times++
	if u.times >= unreadableTimes && r.ticks-u.since >= unreadableTicks {
		r.fail(fmt.Errorf("replica: stream %s: member %d offers the checkpoint at index %d for the %dth time, and without it this member cannot follow: %w",
			r.name, from, index, u.times, cause))
		return nil
	}
	return fmt.Errorf("replica: stream %s: the checkpoint at index %d that member %d offers, for the %dth time, cannot be read: %w",
		r.name, index, from, u.times, cause)
}
