package raftlog_test

import (
	"testing"

	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
)

// replicate has the leader of a settled cluster propose one entry, and carries it to
// its end on all members, with disks and a network that take no time and copy nothing. It
// returns how many Writes and messages that took.
func replicate(tb testing.TB, gs map[uint64]*raftlog.Group, leader uint64, data []byte) (writes, messages int) {
	if err := gs[leader].Propose(data); err != nil {
		tb.Fatal(err)
	}
	var net []*pb.Message
	for busy := true; busy; {
		busy = false
		for id := uint64(1); id <= uint64(len(gs)); id++ {
			g := gs[id]
			out, more := g.Ready()
			busy = busy || more
			net = append(net, out.Messages...)
			for _, e := range out.Committed {
				if len(e.Data) > 0 {
					g.AddHistory(raftlog.Record{First: e.Index, Last: e.Index, Entry: e.Index})
				}
				g.Applied(e.Index)
			}
			if out.Write != nil {
				writes++
				g.Appended(out.Write)
			}
		}
		for _, m := range net {
			messages++
			if err := gs[m.GetTo()].Step(m.GetFrom(), m); err != nil {
				tb.Fatal(err)
			}
		}
		busy = busy || len(net) > 0
		net = net[:0]
	}
	return writes, messages
}

// settled returns the groups of three members of which the first leads.
func settled(tb testing.TB) map[uint64]*raftlog.Group {
	tb.Helper()
	gs := map[uint64]*raftlog.Group{}
	for id := uint64(1); id <= 3; id++ {
		d := raftlog.GenesisDescriptor(1, []uint64{1, 2, 3})
		g, err := raftlog.NewGroup(raftlog.Config{Group: 1, Member: id, Loaded: &raftlog.Loaded{
			Group: 1, HardState: raftlog.HardState{Term: raftlog.GenesisTerm, Commit: raftlog.GenesisIndex},
			Start: raftlog.LogStart{Index: raftlog.GenesisIndex, Term: raftlog.GenesisTerm}, Checkpoints: []raftlog.Descriptor{d},
		}})
		if err != nil {
			tb.Fatal(err)
		}
		gs[id] = g
	}
	if err := gs[1].Campaign(); err != nil {
		tb.Fatal(err)
	}
	for gs[1].Propose([]byte("x")) != nil {
		var net []*pb.Message
		for _, g := range gs {
			for out, more := g.Ready(); more; out, more = g.Ready() {
				net = append(net, out.Messages...)
				for _, e := range out.Committed {
					g.Applied(e.Index)
				}
				if out.Write != nil {
					g.Appended(out.Write)
				}
			}
		}
		for _, m := range net {
			if err := gs[m.GetTo()].Step(m.GetFrom(), m); err != nil {
				tb.Fatal(err)
			}
		}
	}
	replicate(tb, gs, 1, []byte("x"))
	return gs
}

func BenchmarkReplicate(b *testing.B) {
	gs, data := settled(b), make([]byte, 20_000)
	writes, messages, n := 0, 0, 0
	b.ReportAllocs()
	for b.Loop() {
		w, m := replicate(b, gs, 1, data)
		writes, messages, n = writes+w, messages+m, n+1
	}
	b.ReportMetric(float64(writes)/float64(n), "writes/op")
	b.ReportMetric(float64(messages)/float64(n), "messages/op")
}

// TestReplicateCosts guards that an entry is one Write on each member and no more: what follows
// it, its commit index and its history, goes with the next one.
func TestReplicateCosts(t *testing.T) {
	gs := settled(t)
	for range 5 {
		if writes, messages := replicate(t, gs, 1, []byte("data")); writes != 3 || messages > 8 {
			t.Fatalf("an entry took %d writes and %d messages, want 3 and at most 8", writes, messages)
		}
	}
}
