package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/memstore"
)

const fuzzGroup raftlog.GroupID = 1

// liveGroup is member 1 of 3 with a real raft group: a Handler that steps what it
// gets. Others' votes and acknowledgements are made up.
type liveGroup struct {
	recorder
	t    testing.TB
	mu   sync.Mutex
	g    *raftlog.Group
	sent []*pb.Message // to others
	// faults are what Message saw go wrong.
	faults []string
}

func newLiveGroup(t testing.TB, lead bool) *liveGroup {
	t.Helper()
	store := memstore.New("disk")
	id := raftlog.Identity{Format: raftlog.IdentityFormat, ClusterID: [16]byte{1, 2, 3}, RecoveryEpoch: 1, Member: 1}
	if err := store.Bootstrap(id, []raftlog.GroupID{fuzzGroup}, []uint64{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	loaded, err := store.Load(fuzzGroup)
	if err != nil {
		t.Fatal(err)
	}
	l := &liveGroup{t: t}
	if l.g, err = raftlog.NewGroup(raftlog.Config{Group: fuzzGroup, Member: 1, Loaded: loaded}); err != nil {
		t.Fatal(err)
	}
	if !lead {
		l.step(raftMessage(pb.MsgApp, 3, func(m *pb.Message) {
			m.Index, m.LogTerm, m.Commit = new(uint64(1)), new(uint64(1)), new(uint64(2))
			m.Entries = []*pb.Entry{{Index: new(uint64(2)), Term: new(uint64(3)), Data: []byte("a")}}
		}))
		return l
	}
	if err := l.g.Campaign(); err != nil {
		t.Fatal(err)
	}
	l.drain()
	l.step(raftMessage(pb.MsgPreVoteResp, 2, nil))
	l.step(raftMessage(pb.MsgVoteResp, 2, nil))
	l.step(raftMessage(pb.MsgAppResp, 2, func(m *pb.Message) { m.Index = new(uint64(2)) }))
	return l
}

// raftMessage is one from member 2 to member 1.
func raftMessage(typ pb.MessageType, term uint64, fill func(*pb.Message)) *pb.Message {
	m := &pb.Message{Type: typ.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(term)}
	if fill != nil {
		fill(m)
	}
	return m
}

func (l *liveGroup) step(m *pb.Message) {
	l.t.Helper()
	if err := l.g.Step(2, m); err != nil {
		l.t.Fatal(err)
	}
	l.drain()
}

// drain carries out everything at once, on no disk.
func (l *liveGroup) drain() {
	for {
		out, more := l.g.Ready()
		if !more {
			return
		}
		l.sent = append(l.sent, out.Messages...)
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

// Message is of Handler.
func (l *liveGroup) Message(from uint64, _ raftlog.GroupID, m *pb.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.g.Status()
	err := l.g.Step(from, m)
	if errors.Is(err, raftlog.ErrNotStaged) {
		err = l.g.InstallSnapshot(from, m)
	}
	l.drain()
	l.sent = nil
	after := l.g.Status()
	if err != nil && (after.SoftState != before.SoftState || after.Commit != before.Commit) {
		l.fault("%v is refused (%v), but it changed %+v to %+v", m, err, before, after)
	}
	if err == nil && m.GetFrom() != from {
		l.fault("member %d spoke for member %d: %v", from, m.GetFrom(), m)
	}
	if after.Term > before.Term+raftlog.MaxTermJump {
		l.fault("one message moved the term from %d to %d", before.Term, after.Term)
	}
}

func (l *liveGroup) fault(format string, args ...any) {
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

func (l *liveGroup) check(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, fault := range l.faults {
		t.Error(fault)
	}
	l.faults = nil
}

func (l *liveGroup) status() raftlog.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.g.Status()
}

// traffic is what members send each other: a leader's own messages turned around,
// and one of each kind that it would get.
func traffic(t testing.TB) (frames [][]byte) {
	leader := newLiveGroup(t, true)
	if err := leader.g.Propose([]byte("entry")); err != nil {
		t.Fatal(err)
	}
	leader.drain()
	for range 3 {
		leader.g.Tick()
		leader.drain()
	}
	d := raftlog.GenesisDescriptor(fuzzGroup, []uint64{1, 2, 3})
	d.Index, d.Term = 9, 2
	snapshot, err := d.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	all := []*pb.Message{
		raftMessage(pb.MsgAppResp, 2, func(m *pb.Message) { m.Index = new(uint64(3)) }),
		raftMessage(pb.MsgVote, 4, func(m *pb.Message) { m.Index, m.LogTerm = new(uint64(9)), new(uint64(3)) }),
		raftMessage(pb.MsgHeartbeatResp, 2, nil),
		raftMessage(pb.MsgTimeoutNow, 3, nil),
		raftMessage(pb.MsgSnap, 3, func(m *pb.Message) { m.Snapshot = snapshot }),
		raftMessage(pb.MsgReadIndex, 0, func(m *pb.Message) {
			m.Term, m.Entries = nil, []*pb.Entry{{Data: make([]byte, raftlog.ReadContextBytes)}}
		}),
	}
	for _, m := range leader.sent {
		turned := proto.CloneOf(m)
		turned.From, turned.To = new(uint64(2)), new(uint64(1))
		all = append(all, turned)
	}
	for _, m := range all {
		b, err := appendMessage(nil, fuzzGroup, m)
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, b)
	}
	return frames
}

// FuzzPeer is the way of a member's bytes into raft: frames, messages, the check and
// a live group, as leader and as follower. Without a checksum in the way the fuzzer
// gets further, so the bytes are also taken as a frame's payload.
func FuzzPeer(f *testing.F) {
	frames := traffic(f)
	for _, b := range frames {
		f.Add(true, b[headerBytes:])
		f.Add(false, b[headerBytes:])
	}
	f.Add(true, bytes.Join(frames, nil))
	f.Add(false, bytes.Join(frames, nil))
	f.Fuzz(func(t *testing.T, lead bool, b []byte) {
		l := newLiveGroup(t, lead)
		receive := (&Transport{cfg: Config{Member: 1, Handler: l}}).receiver(&peer{id: 2})
		r := newFrameReader(bytes.NewReader(b), MaxFrame)
		for {
			got, err := r.next()
			if err == nil {
				err = receive(got)
			}
			if err != nil {
				checkFault(t, err)
				break
			}
		}
		if err := receive(frame{typ: frameMessage, group: fuzzGroup, payload: b}); err != nil {
			checkFault(t, err)
		}
		l.g.Tick()
		l.drain()
		l.check(t)
	})
}

func checkFault(t *testing.T, err error) {
	t.Helper()
	if !errors.As(err, new(*FrameError)) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("an untyped error: %v", err)
	}
}

// FuzzPort writes any bytes to the open port of a running member. They end with
// their connection, and its raft does not move unless they begin with a hello.
func FuzzPort(f *testing.F) {
	hello := func(use purpose) []byte { return appendFrame(nil, frameHello, asMember2(use).append(nil)) }
	f.Add(hello(forProbe))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	for _, b := range traffic(f) {
		f.Add(b)
		f.Add(append(hello(forMessages), b...))
	}
	f.Add(append(hello(forCalls), appendRequest(nil, 1, 2, time.Second, []byte("question"))...))
	f.Add(append(hello(forCalls), appendFrame(nil, frameCancel, make([]byte, 8))...))

	group := newLiveGroup(f, false)
	listener := listen(f, "127.0.0.1:0")
	transport, err := New(Config{
		Member: 1, ClusterName: "prod", Hello: testHello(), Listener: listener, Handler: group,
		Peers: map[uint64]string{2: listener.Addr().String()}, Timing: Timing{BackoffMin: time.Hour, BackoffMax: time.Hour},
		Dial: refuseToDial,
	})
	if err != nil {
		f.Fatal(err)
	}
	group.changes = make(chan change, 1<<10)
	transport.Start()
	f.Cleanup(func() { _ = transport.Close() })
	f.Fuzz(func(t *testing.T, b []byte) {
		before := group.status()
		raw, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = raw.Close() }()
		_ = raw.SetDeadline(time.Now().Add(waitLimit))
		_, _ = raw.Write(b) // the member may have heard enough
		_ = raw.(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, raw); err != nil {
			if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
				t.Fatal("the connection is still open")
			}
		}
		after := group.status()
		if !bytes.Contains(b, []byte(helloMagic)) && (after.SoftState != before.SoftState || after.Commit != before.Commit) {
			t.Fatalf("without a hello, %x changed %+v to %+v", b, before, after)
		}
		group.check(t)
		for len(group.changes) > 0 {
			<-group.changes
		}
	})
}
