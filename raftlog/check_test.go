package raftlog_test

import (
	"errors"
	"math"
	"testing"

	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/memstore"
	pb "go.etcd.io/raft/v3/raftpb"
)

// Roles that the member under test can have; it is always member 1 of 3.
const (
	asFollower = iota
	asCandidate
	asLeader
	roles
)

// lone is one member whose peers are played by the test.
type lone struct {
	t     testing.TB
	store *memstore.Store
	g     *raftlog.Group
	sent  []*pb.Message
}

func newLone(t testing.TB, role int) *lone {
	l := &lone{t: t, store: memstore.New("disk")}
	if err := l.store.Bootstrap(genesisIdentity(1), []raftlog.GroupID{testGroup}, []uint64{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	loaded, err := l.store.Load(testGroup)
	if err != nil {
		t.Fatal(err)
	}
	if l.g, err = raftlog.NewGroup(raftlog.Config{Group: testGroup, Member: 1, Loaded: loaded, MaxEntryBytes: 1000, MaxMessageBytes: 2000}); err != nil {
		t.Fatal(err)
	}
	switch role {
	case asFollower:
		l.must(msg(pb.MsgApp, 2, 3, func(m *pb.Message) {
			m.Index, m.LogTerm, m.Commit = new(uint64(1)), new(uint64(1)), new(uint64(2))
			m.Entries = []*pb.Entry{entry(2, 2, "a"), entry(3, 3, "b")}
		}))
	case asCandidate, asLeader:
		if err := l.g.Campaign(); err != nil {
			t.Fatal(err)
		}
		l.drain()
		l.must(msg(pb.MsgPreVoteResp, 2, 2))
		if role == asLeader {
			l.must(msg(pb.MsgVoteResp, 2, 2))
			l.must(msg(pb.MsgAppResp, 2, 2, func(m *pb.Message) { m.Index = new(uint64(2)) }))
		}
	}
	l.drain()
	return l
}

func (l *lone) must(m *pb.Message) {
	l.t.Helper()
	if err := l.g.Step(m.GetFrom(), m); err != nil {
		l.t.Fatal(err)
	}
	l.drain()
}

// drain performs everything at once and keeps what was sent.
func (l *lone) drain() {
	l.t.Helper()
	for {
		out, more := l.g.Ready()
		if !more {
			return
		}
		l.sent = append(l.sent, out.Messages...)
		if w := out.Write; w != nil {
			if w.Install != nil {
				l.stage(*w.Install)
			}
			if err := l.store.Write([]*raftlog.Write{w}); err != nil {
				l.t.Fatal(err)
			}
			l.g.Appended(w)
			if w.Install != nil {
				l.g.Applied(w.Install.Index)
			}
		}
		for _, e := range out.Committed {
			l.g.Applied(e.Index)
		}
	}
}

func (l *lone) stage(d raftlog.Descriptor) {
	w, err := l.store.StageCheckpoint(testGroup, d)
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := w.Commit(); err != nil {
		l.t.Fatal(err)
	}
}

// msg makes a message from a member to member 1.
func msg(t pb.MessageType, from, term uint64, change ...func(*pb.Message)) *pb.Message {
	m := &pb.Message{Type: t.Enum(), From: new(from), To: new(uint64(1)), Term: new(term)}
	for _, f := range change {
		f(m)
	}
	return m
}

func entry(index, term uint64, data string) *pb.Entry {
	return &pb.Entry{Index: new(index), Term: new(term), Data: []byte(data)}
}

// emptyCheckpoint is the descriptor of a checkpoint without chunks at an index.
func emptyCheckpoint(t testing.TB, index, term uint64) raftlog.Descriptor {
	d := raftlog.GenesisDescriptor(testGroup, []uint64{1, 2, 3})
	d.Index, d.Term = index, term
	enc, err := raftlog.NewFileEncoder(d)
	if err != nil {
		t.Fatal(err)
	}
	enc.Header()
	_, d = enc.Trailer()
	return d
}

func snapshotMsg(t testing.TB, from, term, index, snapTerm uint64) *pb.Message {
	s, err := emptyCheckpoint(t, index, snapTerm).Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return msg(pb.MsgSnap, from, term, func(m *pb.Message) { m.Snapshot = s })
}

// TestCheck goes through every reason; each message differs from a good one in one
// thing.
func TestCheck(t *testing.T) {
	app := func(change func(*pb.Message)) *pb.Message {
		return msg(pb.MsgApp, 2, 3, func(m *pb.Message) {
			m.Index, m.LogTerm = new(uint64(3)), new(uint64(3))
			m.Entries = []*pb.Entry{entry(4, 3, "c"), entry(5, 3, "d")}
		}, change)
	}
	read := func(change func(*pb.Message)) *pb.Message {
		return msg(pb.MsgReadIndex, 2, 0, func(m *pb.Message) { m.Entries = []*pb.Entry{{Data: make([]byte, 8)}} }, change)
	}
	none := func(*pb.Message) {}
	for _, test := range []struct {
		name string
		role int
		from uint64
		m    *pb.Message
		want raftlog.Reason // empty: good
	}{
		{"append", asFollower, 2, app(none), ""},
		{"proposal", asLeader, 2, msg(pb.MsgProp, 2, 2, func(m *pb.Message) { m.Entries = []*pb.Entry{{Data: []byte("x")}} }), raftlog.BadType},
		{"proposal without term", asLeader, 2, msg(pb.MsgProp, 2, 0), raftlog.BadType},
		{"hup", asFollower, 2, msg(pb.MsgHup, 2, 0), raftlog.BadType},
		{"transfer", asLeader, 2, msg(pb.MsgTransferLeader, 2, 2), raftlog.BadType},
		{"forget", asFollower, 2, msg(pb.MsgForgetLeader, 2, 3), raftlog.BadType},
		{"storage", asFollower, 2, msg(pb.MsgStorageAppendResp, 2, 3), raftlog.BadType},
		{"unknown type", asFollower, 2, msg(pb.MessageType(99), 2, 3), raftlog.BadType},
		{"no type", asFollower, 2, msg(pb.MsgApp, 2, 3, func(m *pb.Message) { m.Type = nil }), raftlog.BadType},
		{"responses", asFollower, 2, app(func(m *pb.Message) { m.Responses = []*pb.Message{{}} }), raftlog.BadType},
		{"other connection", asFollower, 3, app(none), raftlog.BadSender},
		{"from myself", asFollower, 1, app(func(m *pb.Message) { m.From = new(uint64(1)) }), raftlog.BadSender},
		{"from nobody", asFollower, 0, app(func(m *pb.Message) { m.From = nil }), raftlog.BadSender},
		{"for another", asFollower, 2, app(func(m *pb.Message) { m.To = new(uint64(3)) }), raftlog.BadRecipient},
		{"no term", asFollower, 2, app(func(m *pb.Message) { m.Term = nil }), raftlog.BadTerm},
		{"far term", asFollower, 2, msg(pb.MsgVote, 2, 3+raftlog.MaxTermJump+1), raftlog.BadTerm},
		{"near term", asFollower, 2, msg(pb.MsgPreVote, 2, 3+raftlog.MaxTermJump), ""},
		{"second leader", asFollower, 3, app(func(m *pb.Message) { m.From = new(uint64(3)) }), raftlog.BadLeader},
		{"time-out from a stranger", asFollower, 3, msg(pb.MsgTimeoutNow, 3, 3), raftlog.BadLeader},
		{"snapshot on append", asFollower, 2, app(func(m *pb.Message) { m.Snapshot = &pb.Snapshot{} }), raftlog.BadSnapshot},
		{"entries on a vote", asFollower, 2, msg(pb.MsgVote, 2, 4, func(m *pb.Message) { m.Entries = []*pb.Entry{entry(1, 1, "")} }), raftlog.BadEntries},
		{"gap before", asFollower, 2, app(func(m *pb.Message) { m.Index = new(uint64(2)) }), raftlog.BadEntries},
		{"gap inside", asFollower, 2, app(func(m *pb.Message) { m.Entries[1].Index = new(uint64(6)) }), raftlog.BadEntries},
		{"index overflow", asFollower, 2, app(func(m *pb.Message) {
			m.Index = new(uint64(math.MaxUint64))
			m.Entries[0].Index, m.Entries[1].Index = new(uint64(0)), new(uint64(1))
		}), raftlog.BadEntries},
		{"terms backwards", asFollower, 2, app(func(m *pb.Message) { m.Entries[1].Term = new(uint64(2)) }), raftlog.BadEntries},
		{"term of the future", asFollower, 2, app(func(m *pb.Message) { m.Entries[1].Term = new(uint64(4)) }), raftlog.BadEntries},
		{"log term of the future", asFollower, 2, app(func(m *pb.Message) { m.LogTerm, m.Entries = new(uint64(9)), nil }), raftlog.BadEntries},
		{"unreadable conf change", asFollower, 2, app(func(m *pb.Message) { m.Entries[1].Type = pb.EntryConfChangeV2.Enum() }), raftlog.BadEntries},
		{"unknown entry type", asFollower, 2, app(func(m *pb.Message) { m.Entries[1].Type = pb.EntryType(7).Enum() }), raftlog.BadEntries},
		{"large entry", asFollower, 2, app(func(m *pb.Message) { m.Entries[0].Data = make([]byte, 1001) }), raftlog.BadSize},
		{"large message", asFollower, 2, app(func(m *pb.Message) {
			m.Entries = []*pb.Entry{entry(4, 3, string(make([]byte, 900))), entry(5, 3, string(make([]byte, 900))), entry(6, 3, string(make([]byte, 900)))}
		}), raftlog.BadSize},
		{"context on append", asFollower, 2, app(func(m *pb.Message) { m.Context = make([]byte, 8) }), raftlog.BadContext},
		{"transfer vote", asFollower, 2, msg(pb.MsgVote, 2, 4, func(m *pb.Message) { m.Context = []byte("CampaignTransfer") }), ""},
		{"odd vote", asFollower, 2, msg(pb.MsgVote, 2, 4, func(m *pb.Message) { m.Context = []byte("Campaign") }), raftlog.BadContext},
		{"read", asLeader, 2, read(none), ""},
		{"read with term", asLeader, 2, read(func(m *pb.Message) { m.Term = new(uint64(9)) }), raftlog.BadTerm},
		{"read without context", asLeader, 2, read(func(m *pb.Message) { m.Entries = nil }), raftlog.BadContext},
		{"read with a long context", asLeader, 2, read(func(m *pb.Message) { m.Entries[0].Data = make([]byte, 9) }), raftlog.BadContext},
		{"confirms no read", asLeader, 2, msg(pb.MsgHeartbeatResp, 2, 2, func(m *pb.Message) { m.Context = []byte{9, 0, 0, 0, 0, 0, 0, 0} }), raftlog.BadContext},
		{"acknowledges too much", asLeader, 2, msg(pb.MsgAppResp, 2, 2, func(m *pb.Message) { m.Index = new(uint64(3)) }), raftlog.BadIndex},
		{"acknowledges to a follower", asFollower, 2, msg(pb.MsgAppResp, 2, 3, func(m *pb.Message) { m.Index = new(uint64(50)) }), ""},
		{"commit at the end", asFollower, 2, msg(pb.MsgHeartbeat, 2, 3, func(m *pb.Message) { m.Commit = new(uint64(3)) }), ""},
		{"old commit too far", asFollower, 2, msg(pb.MsgHeartbeat, 2, 2, func(m *pb.Message) { m.Commit = new(uint64(9)) }), ""},
		{"no snapshot", asFollower, 2, msg(pb.MsgSnap, 2, 3), raftlog.BadSnapshot},
		{"snapshot of the future", asFollower, 2, snapshotMsg(t, 2, 3, 9, 4), raftlog.BadSnapshot},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := newLone(t, test.role).g.Step(test.from, test.m)
			var bad *raftlog.BadMessageError
			switch {
			case test.want == "" && err != nil:
				t.Fatal(err)
			case test.want != "" && (!errors.As(err, &bad) || bad.Reason != test.want):
				t.Fatalf("got %v, want reason %q", err, test.want)
			}
		})
	}
}

// A snapshot of a newer format is told from others only if everything else about it is sound.
func TestCheckNewerSnapshot(t *testing.T) {
	newer := func(change func(*pb.Message)) *pb.Message {
		m := snapshotMsg(t, 2, 3, 9, 3)
		m.Snapshot.Data[7]++ // the format's last byte
		m.Snapshot.Data = append(m.Snapshot.Data[:25], "otherwise"...)
		change(m)
		return m
	}
	var format *raftlog.FormatError
	if err := newLone(t, asFollower).g.Step(2, newer(func(*pb.Message) {})); !errors.As(err, &format) || format.Have != raftlog.DescriptorFormat+1 {
		t.Errorf("a sound one: %v", err)
	}
	for name, test := range map[string]struct {
		want   raftlog.Reason
		change func(*pb.Message)
	}{
		"from another member than the leader": {raftlog.BadLeader, func(m *pb.Message) { m.From = new(uint64(3)) }},
		"for another member":                  {raftlog.BadRecipient, func(m *pb.Message) { m.To = new(uint64(3)) }},
		"of another group":                    {raftlog.BadSnapshot, func(m *pb.Message) { m.Snapshot.Data[8]++ }},
		"of another index":                    {raftlog.BadSnapshot, func(m *pb.Message) { m.Snapshot.Data[16]++ }},
		"of another term":                     {raftlog.BadSnapshot, func(m *pb.Message) { m.Snapshot.Data[24]++ }},
		"of a term to come": {raftlog.BadSnapshot, func(m *pb.Message) {
			m.Snapshot.Data[24], m.Snapshot.Metadata.Term = 4, new(uint64(4))
		}},
		"of no index": {raftlog.BadSnapshot, func(m *pb.Message) {
			m.Snapshot.Data[16], m.Snapshot.Metadata.Index = 0, new(uint64(0))
		}},
		"beyond the last index": {raftlog.BadSnapshot, func(m *pb.Message) {
			m.Snapshot.Data[9], m.Snapshot.Metadata.Index = 0x80, new(uint64(1<<63+9))
		}},
		"cut short":        {raftlog.BadSnapshot, func(m *pb.Message) { m.Snapshot.Data = m.Snapshot.Data[:24] }},
		"without metadata": {raftlog.BadSnapshot, func(m *pb.Message) { m.Snapshot.Metadata = nil }},
		"without voters":   {raftlog.BadSnapshot, func(m *pb.Message) { m.Snapshot.Metadata.ConfState.Voters = nil }},
	} {
		m := newer(test.change)
		var bad *raftlog.BadMessageError
		if err := newLone(t, asFollower).g.Step(m.GetFrom(), m); !errors.As(err, &bad) || bad.Reason != test.want {
			t.Errorf("%s: %v, want reason %q", name, err, test.want)
		}
	}
}

func TestCheckSnapshotConfiguration(t *testing.T) {
	for name, change := range map[string]func(*pb.Snapshot){
		"no voters":         func(s *pb.Snapshot) { s.Metadata.ConfState.Voters = nil },
		"other voters":      func(s *pb.Snapshot) { s.Metadata.ConfState.Voters = []uint64{1} },
		"voter and learner": func(s *pb.Snapshot) { s.Metadata.ConfState.Learners = []uint64{1} },
		"other index":       func(s *pb.Snapshot) { s.Metadata.Index = new(uint64(8)) },
		"other term":        func(s *pb.Snapshot) { s.Metadata.Term = new(uint64(1)) },
		"other group":       func(s *pb.Snapshot) { s.Data[8]++ },
		"no metadata":       func(s *pb.Snapshot) { s.Metadata = nil },
		"unreadable":        func(s *pb.Snapshot) { s.Data = s.Data[:20] },
		"member id 0":       func(s *pb.Snapshot) { s.Metadata.ConfState.Voters = []uint64{0, 1, 2} },
		"voter twice":       func(s *pb.Snapshot) { s.Metadata.ConfState.Voters = []uint64{1, 2, 3, 3} },
	} {
		m := snapshotMsg(t, 2, 3, 9, 3)
		change(m.Snapshot)
		var bad *raftlog.BadMessageError
		if err := newLone(t, asFollower).g.Step(2, m); !errors.As(err, &bad) || bad.Reason != raftlog.BadSnapshot {
			t.Errorf("%s: %v", name, err)
		}
	}
	// raft counts on from there.
	last := snapshotMsg(t, 2, 3, math.MaxUint64, 3)
	var bad *raftlog.BadMessageError
	if err := newLone(t, asFollower).g.Step(2, last); !errors.As(err, &bad) || bad.Reason != raftlog.BadSnapshot {
		t.Errorf("the last index there is: %v", err)
	}
	if err := newLone(t, asFollower).g.Step(2, snapshotMsg(t, 2, 3, 9, 3)); !errors.Is(err, raftlog.ErrNotStaged) {
		t.Errorf("a good snapshot: %v", err)
	}
}
