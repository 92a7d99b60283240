package replica

import (
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/heliosdb/metadata/raftlog"
)

// Offer returns what a member in quarantine can be rebuilt from, see raftlog.Rebuild.
// The term is the one that the answer to a Read with Leading named; the Read came after
// the member's question. raftlog.ErrNotLeader if this member leads it no more.
//
// The log that was offered stays until EndOffer, or until the member has asked for nothing
// for OfferIdleTicks, but for MaxPinnedCuts checkpoints in a row at most. The driver keeps the
// checkpoint's file.
func (r *Replica[D]) Offer(to, term uint64) (raftlog.Offer, error) {
	if r.failed != nil {
		return raftlog.Offer{}, raftlog.ErrNotLeader
	}
	offer, err := r.group.Offer(term)
	if err == nil {
		k := r.checkpts.keep(to)
		k.offered, k.idle = true, 0
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

// EndOffer says that a member is rebuilt, or has given up.
func (r *Replica[D]) EndOffer(to uint64) {
	if r.Offered(to) {
		delete(r.checkpts.kept, to)
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
