package raftlog

import (
	"fmt"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// Offer returns what a member in quarantine can be rebuilt from. The caller has had
// this member confirmed as leader of the term, by a read that began after the member
// asked (see Rebuild); ErrNotLeader if it leads that term no more.
func (g *Group) Offer(term uint64) (Offer, error) {
	st := g.rn.BasicStatus()
	if st.RaftState != raft.StateLeader || st.GetTerm() != term {
		return Offer{}, ErrNotLeader
	}
	o := Offer{Term: term, Last: g.last, Commit: min(st.GetCommit(), g.last)}
	first, err := g.memory.FirstIndex()
	if err == nil {
		o.Start.Index = first - 1
		o.Start.Term, err = g.memory.Term(first - 1)
	}
	if err == nil {
		var snap *pb.Snapshot
		if snap, err = g.memory.Snapshot(); err == nil {
			o.Checkpoint, err = DescriptorOf(snap)
		}
	}
	if err != nil {
		return Offer{}, fmt.Errorf("raftlog: group %d: offer: %w", g.cfg.Group, err)
	}
	return o, nil
}

// EntriesAfter serves an EntriesRequest from this member's log. ErrNotLeader if it
// does not lead that term, ErrLogCut and ErrLogDiffers if its log cannot continue
// the asker's. It returns no entries while the next one is not stored here yet. The
// entries must not be modified.
func (g *Group) EntriesAfter(q EntriesRequest) ([]*pb.Entry, error) {
	st := g.rn.BasicStatus()
	if st.RaftState != raft.StateLeader || st.GetTerm() != q.Term {
		return nil, ErrNotLeader
	}
	first, _ := g.memory.FirstIndex() // MemoryStorage has no error here
	last, _ := g.memory.LastIndex()
	if q.After.Index+1 < first {
		return nil, ErrLogCut
	}
	if q.After.Index > last {
		return nil, nil
	}
	term, err := g.memory.Term(q.After.Index)
	if err != nil {
		return nil, fmt.Errorf("raftlog: group %d: entries after %d: %w", g.cfg.Group, q.After.Index, err)
	}
	if term != q.After.Term {
		return nil, ErrLogDiffers
	}
	upTo := min(q.UpTo, last)
	if upTo <= q.After.Index {
		return nil, nil
	}
	limit := min(max(q.MaxBytes, 1), MaxRebuildBytes)
	return g.memory.Entries(q.After.Index+1, upTo+1, uint64(limit))
}
