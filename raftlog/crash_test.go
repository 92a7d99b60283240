package raftlog_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"strings"
	"testing"

	"github.com/heliosdb/metadata/raftlog"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// crash is a message that takes raft itself down, or over.
type crash struct {
	role    int
	message *pb.Message
	// bare says what raft does with it when nothing stands before it; it fails the
	// test if raft has learnt to defend itself, for then the check has to be looked
	// at again, not only the test.
	bare func(*testing.T, *raft.RawNode, *pb.Message)
	want raftlog.Reason
}

// A heartbeat's answer with a context of one byte: the leader reads eight.
func TestCrashShortReadContext(t *testing.T) {
	runCrash(t, crash{
		role:    asLeader,
		message: msg(pb.MsgHeartbeatResp, 2, 2, func(m *pb.Message) { m.Context = []byte{1} }),
		bare: func(t *testing.T, rn *raft.RawNode, m *pb.Message) {
			wantPanic(t, rn, m, "index out of range [7] with length 1")
		},
		want: raftlog.BadContext,
	})
}

// A heartbeat that commits what the log does not have.
func TestCrashCommitBeyondTheLog(t *testing.T) {
	runCrash(t, crash{
		role:    asFollower,
		message: msg(pb.MsgHeartbeat, 2, 3, func(m *pb.Message) { m.Commit = new(uint64(99999)) }),
		bare: func(t *testing.T, rn *raft.RawNode, m *pb.Message) {
			wantPanic(t, rn, m, "tocommit(99999) is out of range")
		},
		want: raftlog.BadCommit,
	})
}

// An append from a stranger at the highest term: raft follows it, and its group
// can never elect again.
func TestCrashStrangerAtTheHighestTerm(t *testing.T) {
	const highest = math.MaxUint64 - 1
	runCrash(t, crash{
		role:    asFollower,
		message: msg(pb.MsgApp, 77, highest),
		bare: func(t *testing.T, rn *raft.RawNode, m *pb.Message) {
			if err := rn.Step(m); err != nil {
				t.Fatalf("raft refuses it by itself: %v", err)
			}
			if st := rn.BasicStatus(); st.Lead != 77 || st.GetTerm() != highest {
				t.Fatalf("raft follows %d at term %d", st.Lead, st.GetTerm())
			}
		},
		want: raftlog.BadSender,
	})
}

func runCrash(t *testing.T, c crash) {
	c.bare(t, bareRaft(t, c.role), c.message)

	l := newLone(t, c.role)
	before := l.g.Status()
	var bad *raftlog.BadMessageError
	if err := l.g.Step(c.message.GetFrom(), c.message); !errors.As(err, &bad) || bad.Reason != c.want {
		t.Fatalf("got %v, want reason %q", err, c.want)
	}
	l.drain()
	after := l.g.Status()
	if after.SoftState != before.SoftState || after.Commit != before.Commit {
		t.Fatalf("the message changed %+v to %+v", before, after)
	}
	if after.Refused[c.want] != 1 {
		t.Fatalf("it was not counted: %v", after.Refused)
	}
	l.goesOn(c.role)
}

// goesOn checks that the group still does its work: it commits one more entry.
func (l *lone) goesOn(role int) {
	l.t.Helper()
	last := l.g.Status().Last
	switch role {
	case asLeader:
		if err := l.g.Propose([]byte("after")); err != nil {
			l.t.Fatal(err)
		}
		l.drain()
		l.must(msg(pb.MsgAppResp, 2, 2, func(m *pb.Message) { m.Index = new(last + 1) }))
	case asFollower:
		l.must(msg(pb.MsgApp, 2, 3, func(m *pb.Message) {
			m.Index, m.LogTerm, m.Commit = new(last), new(uint64(3)), new(last+1)
			m.Entries = []*pb.Entry{entry(last+1, 3, "after")}
		}))
	}
	if st := l.g.Status(); st.Commit != last+1 {
		l.t.Fatalf("entry %d is not committed: %+v", last+1, st)
	}
}

// bareRaft is member 1 of 3 with nothing of ours around it, in the state that
// newLone has.
func bareRaft(t *testing.T, role int) *raft.RawNode {
	t.Helper()
	disk := raft.NewMemoryStorage()
	if err := disk.ApplySnapshot(&pb.Snapshot{Metadata: &pb.SnapshotMetadata{
		ConfState: &pb.ConfState{Voters: []uint64{1, 2, 3}}, Index: new(uint64(1)), Term: new(uint64(1)),
	}}); err != nil {
		t.Fatal(err)
	}
	if err := disk.SetHardState(&pb.HardState{Term: new(uint64(1)), Commit: new(uint64(1))}); err != nil {
		t.Fatal(err)
	}
	rn, err := raft.NewRawNode(&raft.Config{
		ID: 1, ElectionTick: 10, HeartbeatTick: 1, Storage: disk, Applied: 1, MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 16,
		CheckQuorum: true, PreVote: true, Logger: &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)},
	})
	if err != nil {
		t.Fatal(err)
	}
	feed := func(m *pb.Message) {
		if m != nil {
			if err := rn.Step(m); err != nil {
				t.Fatal(err)
			}
		}
		for rn.HasReady() {
			ready := rn.Ready()
			if err := disk.Append(ready.Entries); err != nil {
				t.Fatal(err)
			}
			rn.Advance(ready)
		}
	}
	if role == asFollower {
		feed(msg(pb.MsgApp, 2, 3, func(m *pb.Message) {
			m.Index, m.LogTerm, m.Commit = new(uint64(1)), new(uint64(1)), new(uint64(2))
			m.Entries = []*pb.Entry{entry(2, 2, "a"), entry(3, 3, "b")}
		}))
		return rn
	}
	if err := rn.Campaign(); err != nil {
		t.Fatal(err)
	}
	feed(nil)
	feed(msg(pb.MsgPreVoteResp, 2, 2))
	feed(msg(pb.MsgVoteResp, 2, 2))
	if rn.BasicStatus().RaftState != raft.StateLeader {
		t.Fatalf("bare raft does not lead: %+v", rn.BasicStatus())
	}
	return rn
}

func wantPanic(t *testing.T, rn *raft.RawNode, m *pb.Message, with string) {
	t.Helper()
	defer func() {
		t.Helper()
		if r := recover(); !strings.Contains(fmt.Sprint(r), with) {
			t.Fatalf("raft by itself says %v, want a panic with %q", r, with)
		}
	}()
	if err := rn.Step(m); err != nil {
		t.Fatalf("raft refuses it by itself: %v", err)
	}
}
