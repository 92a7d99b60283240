package replica

import (
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/heliosdb/metadata/raftlog"
)

// Offer returns what a member in quarantine can be rebuilt from, see raftlog.Rebuild.
// The term is the one that the answer to a Read with Leading named; the Read came after
// the member's question. raftlog.ErrNotLeader if this member leads it no more.
//
// The log that was offered stays until raft has heard the member after EndOffer, or until
// nothing was heard of it for OfferIdleTicks, but for MaxPinnedCuts checkpoints in a row at most. The driver keeps the
// checkpoint's file.
func (r *Replica[D]) Offer(to, term uint64) (raftlog.Offer, error) {
	if r.failed != nil {
		return raftlog.Offer{}, raftlog.ErrNotLeader
	}
	offer, err := r.group.Offer(term)
	if err == nil {
		k := r.checkpts.keep(to)
		k.offered, k.ended, k.idle = true, false, 0
	}
	return offer, err
}

// Offered reports whether something is kept for a member since an Offer, and notes that
// it was heard of.
func (r *Replica[D]) Offered(to uint64) bool {
	k := r.checkpts.kept[to]
	if k == nil || !k.offered {
		return false
	}
	k.idle = 0
	return true
}

// EndOffer says that a member is rebuilt, or has given up. One that is rebuilt follows from
// here on: the log stays until raft sees that, or a checkpoint that is just being written
// would cut what it needs next. The driver reports it unreachable as well, so that raft
// does not take for news what it knew of the member before.
func (r *Replica[D]) EndOffer(to uint64) {
	if k := r.checkpts.kept[to]; k != nil && k.offered {
		k.offered, k.ended, k.idle = false, true, 0
	}
}

// EntriesAfter serves a member that is being rebuilt, see raftlog.Group.EntriesAfter.
func (r *Replica[D]) EntriesAfter(to uint64, q raftlog.EntriesRequest) ([]*pb.Entry, error) {
	if r.failed != nil {
		return nil, raftlog.ErrNotLeader
	}
	r.Offered(to)
	return r.group.EntriesAfter(q)
}
