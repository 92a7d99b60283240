package raftlog_test

import (
	"testing"

	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
)

// ready returns all that a group wants done.
func ready(g *raftlog.Group) (writes []*raftlog.Write, answers []*pb.Message) {
	for {
		out, more := g.Ready()
		if out.Write != nil {
			writes = append(writes, out.Write)
		}
		for _, m := range out.Messages {
			if m.GetType() == pb.MsgAppResp {
				answers = append(answers, m)
			}
		}
		for _, e := range out.Committed {
			g.Applied(e.Index)
		}
		if !more {
			return writes, answers
		}
	}
}

// TestCommitIndexWaitsForAnotherWrite checks what a follower does with a commit index alone:
// it is stored with the next entries, or after a tick; the answer goes out at once, but
// never before the entries that it acknowledges are stored.
func TestCommitIndexWaitsForAnotherWrite(t *testing.T) {
	c := elected(t)
	c.mustPropose(1, 3)
	g := c.members[2].g
	c.settle(2) // what its last tick has written
	st := g.Status()
	term, last := st.Term, st.Last
	appendTo := func(prev, commit uint64, entries ...*pb.Entry) {
		t.Helper()
		m := &pb.Message{
			Type: pb.MsgApp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(term),
			Index: new(prev), LogTerm: new(term), Commit: new(commit), Entries: entries,
		}
		if err := g.Step(1, m); err != nil {
			t.Fatal(err)
		}
	}
	entry := func(index uint64) *pb.Entry {
		return &pb.Entry{Index: new(index), Term: new(term), Data: []byte("data")}
	}

	appendTo(last, last, entry(last+1), entry(last+2), entry(last+3))
	writes, answers := ready(g)
	if len(writes) != 1 || !writes[0].Sync || len(answers) != 0 {
		t.Fatalf("entries: %d writes, %d answers before they are stored", len(writes), len(answers))
	}
	entries := writes[0]
	appendTo(last+3, last+1)
	writes, answers = ready(g)
	if len(writes) != 1 || len(answers) != 0 {
		t.Fatalf("a commit index behind a write under way: %d writes, %d answers", len(writes), len(answers))
	}
	g.Appended(entries)
	g.Appended(writes[0])
	if _, answers = ready(g); len(answers) == 0 || answers[len(answers)-1].GetIndex() != last+3 {
		t.Fatalf("stored, and %d answers", len(answers))
	}

	appendTo(last+3, last+2)
	g.AddHistory(raftlog.Record{First: 1, Last: 1, Entry: last + 2})
	writes, answers = ready(g)
	if len(writes) != 0 || len(answers) != 1 || answers[0].GetIndex() != last+3 {
		t.Fatalf("a commit index alone: %d writes, %d answers", len(writes), len(answers))
	}
	appendTo(last+3, last+2, entry(last+4))
	if writes, _ = ready(g); len(writes) != 1 || writes[0].HardState.Commit != last+2 || len(writes[0].History) != 1 {
		t.Fatalf("what was kept back is not in the next write: %+v", writes)
	}
	g.Appended(writes[0])

	appendTo(last+4, last+3)
	if writes, _ = ready(g); len(writes) != 0 {
		t.Fatalf("a commit index alone: %d writes", len(writes))
	}
	g.Tick()
	if writes, _ = ready(g); len(writes) != 1 || writes[0].HardState.Commit != last+3 || writes[0].Sync {
		t.Fatalf("a tick later: %+v", writes)
	}
	for i := range uint64(64) {
		g.AddHistory(raftlog.Record{First: i + 2, Last: i + 2, Entry: last + 3})
	}
	if writes, _ = ready(g); len(writes) != 1 || len(writes[0].History) != 64 {
		t.Fatalf("many records wait for nobody: %+v", writes)
	}
}
