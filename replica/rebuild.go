package replica

import (
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/heliosdb/metadata/raftlog"
)

// Offer returns what a member in quarantine can be rebuilt from, see raftlog.Rebuild.
// The term is the one that the answer to a Read with Leading named; the Read came after
// the member's question. raftlog.ErrNotLeader if this member leads it no more.
func (r *Replica[D]) Offer(term uint64) (raftlog.Offer, error) {
	if r.failed != nil {
		return raftlog.Offer{}, raftlog.ErrNotLeader
	}
	return r.group.Offer(term)
}

// EntriesAfter serves a member that is being rebuilt, see raftlog.Group.EntriesAfter.
func (r *Replica[D]) EntriesAfter(q raftlog.EntriesRequest) ([]*pb.Entry, error) {
	if r.failed != nil {
		return nil, raftlog.ErrNotLeader
	}
	return r.group.EntriesAfter(q)
}
