package raftlog_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/cryptotest"

	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// feed gives a message to a member as the wire would, whatever it is.
func (l *lone) feed(m *pb.Message) {
	from := m.GetFrom()
	if err := l.g.Step(from, m); errors.Is(err, raftlog.ErrNotStaged) {
		_ = l.g.InstallSnapshot(from, m)
	}
	l.drainAnyway()
}

// drainAnyway is drain for snapshots whose bytes nobody has.
func (l *lone) drainAnyway() {
	for {
		out, more := l.g.Ready()
		if !more {
			return
		}
		if out.Write != nil {
			l.g.Appended(out.Write)
			if out.Write.Install != nil {
				l.g.Applied(out.Write.Install.Index)
			}
		}
		for _, e := range out.Committed {
			l.g.Applied(e.Index)
		}
	}
}

// near returns numbers around those that matter.
func near(rng *rand.Rand) uint64 {
	switch rng.IntN(12) {
	case 0:
		return math.MaxUint64 - rng.Uint64N(3)
	case 1:
		return rng.Uint64()
	case 2:
		return raftlog.MaxTermJump + rng.Uint64N(4)
	}
	return rng.Uint64N(7)
}

// wireTypes are what members may send.
var wireTypes = []pb.MessageType{
	pb.MsgApp, pb.MsgAppResp, pb.MsgVote, pb.MsgVoteResp, pb.MsgPreVote, pb.MsgPreVoteResp,
	pb.MsgHeartbeat, pb.MsgHeartbeatResp, pb.MsgSnap, pb.MsgTimeoutNow, pb.MsgReadIndex, pb.MsgReadIndexResp,
}

func randomMessage(t testing.TB, rng *rand.Rand) *pb.Message {
	kind := wireTypes[rng.IntN(len(wireTypes))]
	if rng.IntN(20) == 0 {
		kind = pb.MessageType(rng.IntN(26))
	}
	m := msg(kind, 2+rng.Uint64N(2), near(rng), func(m *pb.Message) {
		m.Index, m.LogTerm, m.Commit, m.RejectHint = new(near(rng)), new(near(rng)), new(near(rng)), new(near(rng))
		m.Reject = new(rng.IntN(2) == 0)
	})
	switch kind {
	case pb.MsgApp:
		term := max(1, m.GetLogTerm())
		for i := range rng.Uint64N(4) {
			term += rng.Uint64N(2)
			m.Entries = append(m.Entries, entry(m.GetIndex()+1+i, term, "x"))
			if rng.IntN(8) == 0 {
				cc := &pb.ConfChangeV2{Changes: []*pb.ConfChangeSingle{{Type: pb.ConfChangeType(rng.IntN(5)).Enum(), NodeId: new(rng.Uint64N(5))}}}
				m.Entries[i].Data, _ = proto.Marshal(cc)
				m.Entries[i].Type = pb.EntryConfChangeV2.Enum()
			}
		}
	case pb.MsgHeartbeat, pb.MsgHeartbeatResp:
		m.Context = make([]byte, 8*rng.IntN(2))
		if len(m.Context) > 0 {
			m.Context[0] = byte(rng.IntN(4))
		}
	case pb.MsgReadIndex, pb.MsgReadIndexResp:
		m.Entries = []*pb.Entry{{Data: make([]byte, 8)}}
		if kind == pb.MsgReadIndex {
			m.Term = nil
		}
	case pb.MsgSnap:
		m.Snapshot = snapshotMsg(t, 2, 1, 1+rng.Uint64N(9), 1+rng.Uint64N(3)).GetSnapshot()
	}
	return m
}

// TestRandomMessages feeds members what nobody honest sends: they may refuse it or
// follow it, but they do not panic.
func TestRandomMessages(t *testing.T) {
	accepted := 0
	for seed := range uint64(600) {
		cryptotest.SetGlobalRandom(t, seed)
		rng := rand.New(rand.NewPCG(seed, 11))
		l := newLone(t, int(seed%roles))
		var last *pb.Message
		func() {
			defer func() {
				if r := recover(); r != nil {
					t.Fatalf("seed %d: %v after %v", seed, r, last)
				}
			}()
			for range 60 {
				last = randomMessage(t, rng)
				before := fmt.Sprint(l.g.Status().Refused)
				l.feed(last)
				if fmt.Sprint(l.g.Status().Refused) == before {
					accepted++
				}
				if rng.IntN(4) == 0 {
					l.g.Tick()
				}
				_ = l.g.Propose([]byte("p"))
				l.drainAnyway()
			}
		}()
	}
	if accepted < 2000 {
		t.Fatalf("only %d messages passed Check: the test reaches nothing", accepted)
	}
}

// FuzzStep gives any message to a member in each role, over the connection of any
// member: it panics on none, obeys none that it refuses, and its term goes no
// further than the limit.
func FuzzStep(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	add := func(i int, m *pb.Message) {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(i), uint64(2+i%2), b)
	}
	for i := range 60 {
		add(i, randomMessage(f, rng))
	}
	for role := range roles {
		add(2*role, snapshotMsg(f, 2, 3, raftlog.MaxCheckpointIndex, 3))
	}
	f.Fuzz(func(t *testing.T, role byte, connection uint64, b []byte) {
		m := &pb.Message{}
		if proto.Unmarshal(b, m) != nil {
			return
		}
		l := newLone(t, int(role)%roles)
		l.checked(connection, m)
		l.g.Tick()
		l.drainAnyway()
		l.checked(2, msg(pb.MsgHeartbeat, 2, l.g.Status().Term))
		l.checked(connection, m)
	})
}

// checked gives a message to a member and checks that a refused one did nothing.
func (l *lone) checked(connection uint64, m *pb.Message) {
	l.t.Helper()
	before := l.g.Status()
	err := l.g.Step(connection, m)
	if errors.Is(err, raftlog.ErrNotStaged) {
		err = l.g.InstallSnapshot(connection, m)
	}
	l.drainAnyway()
	after := l.g.Status()
	bad, refused := errors.AsType[*raftlog.BadMessageError](err)
	_, newer := errors.AsType[*raftlog.FormatError](err)
	switch {
	case newer && (m.GetType() != pb.MsgSnap || after.SoftState != before.SoftState || after.Commit != before.Commit || after.Last != before.Last):
		l.t.Fatalf("%v is of a newer format (%v), but it changed %+v to %+v", m, err, before, after)
	case newer: // refused, and for others to judge
	case err != nil && !refused:
		l.t.Fatalf("an untyped error: %v", err)
	case refused && bad.Reason == "":
		l.t.Fatalf("a refusal without a reason: %v", err)
	case refused && (after.SoftState != before.SoftState || after.Commit != before.Commit || after.Last != before.Last):
		l.t.Fatalf("%v is refused (%v), but it changed %+v to %+v", m, err, before, after)
	case !refused && (m.GetFrom() != connection || !slices.Contains(members(before.Conf), connection)):
		l.t.Fatalf("%v is taken over the connection of member %d", m, connection)
	case after.Term > before.Term+raftlog.MaxTermJump:
		l.t.Fatalf("the term went from %d to %d", before.Term, after.Term)
	}
}

func members(c *pb.ConfState) []uint64 {
	return slices.Concat(c.GetVoters(), c.GetLearners(), c.GetVotersOutgoing(), c.GetLearnersNext())
}
