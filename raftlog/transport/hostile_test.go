package transport

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
)

// goodNeighbour starts members 1 and 3, connected, and a member 2 that is the
// test's to play.
func goodNeighbour(t *testing.T) (n, neighbour *node) {
	t.Helper()
	nodes := startCluster(t, 3, func(c *Config) {
		if c.Member == 1 {
			c.Timing.Handshake = 200 * time.Millisecond
		}
	})
	awaitUp(t, nodes)
	nodes[2].Close()
	nodes[1].awaitChange(t, 2, false)
	nodes[3].awaitChange(t, 2, false)
	// Until its connections have ended here, the test would be a second process with its id.
	eventually(t, "the end of member 2's connections", func() bool { return !nodes[1].hears(2) })
	return nodes[1], nodes[3]
}

// checkUnharmed checks that the neighbour's connection never broke.
func checkUnharmed(t *testing.T, n, neighbour *node) {
	t.Helper()
	neighbour.Send(1, []*pb.Message{message(pb.MsgApp, 3, 1, 5)})
	if r := n.awaitMessage(t); r.from != 3 {
		t.Errorf("a message came from %d", r.from)
	}
	if got := neighbour.Stats().Dialled; got > 4 {
		t.Errorf("the neighbour had to connect %d times", got)
	}
	if len(neighbour.heard.changes) > 0 {
		t.Errorf("the neighbour saw %+v", <-neighbour.heard.changes)
	}
}

func TestBadBytesCloseOnlyTheirConnection(t *testing.T) {
	n, neighbour := goodNeighbour(t)
	valid := func(m *pb.Message) []byte {
		b, err := appendMessage(nil, 1, m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	flip := func(b []byte, at int) []byte { b[at] ^= 1; return b }
	good := message(pb.MsgApp, 2, 1, 1, []byte("data"))
	header := func(length uint32) []byte {
		return append(binary.BigEndian.AppendUint32(nil, length), byte(frameMessage), 0, 0, 0, 0, 0)
	}
	emptyEntries := func(count int) []byte {
		var body []byte
		for range count {
			body = protowire.AppendBytes(protowire.AppendTag(body, fieldEntries, protowire.BytesType), nil)
		}
		return appendFrame(nil, frameMessage, body)
	}
	responses := message(pb.MsgApp, 2, 1, 1)
	responses.Responses = []*pb.Message{good}
	for _, test := range []struct {
		name    string
		use     purpose
		bytes   []byte
		counter func(Stats) uint64
	}{
		{"payload corrupted", forMessages, flip(valid(good), headerBytes+1), func(s Stats) uint64 { return s.CorruptFrames }},
		{"checksum corrupted", forMessages, flip(valid(good), checkedHeader), func(s Stats) uint64 { return s.CorruptFrames }},
		{"type corrupted", forMessages, flip(valid(good), 4), func(s Stats) uint64 { return s.CorruptFrames }},
		{"group corrupted", forMessages, flip(valid(good), 5), func(s Stats) uint64 { return s.CorruptFrames }},
		{"oversized", forMessages, header(MaxFrame + 1), func(s Stats) uint64 { return s.BadFrames }},
		{"oversized to the limit", forMessages, header(1<<32 - 1), func(s Stats) uint64 { return s.BadFrames }},
		{"unknown type", forMessages, appendFrame(nil, 99, nil), func(s Stats) uint64 { return s.BadFrames }},
		{"second hello", forMessages, appendFrame(nil, frameHello, asMember2(forMessages).append(nil)), func(s Stats) uint64 { return s.BadFrames }},
		{"request among messages", forMessages, appendRequest(nil, 1, 1, 0, nil), func(s Stats) uint64 { return s.BadFrames }},
		{"message among calls", forCalls, valid(good), func(s Stats) uint64 { return s.BadFrames }},
		{"not protobuf", forMessages, appendFrame(nil, frameMessage, []byte{0xff, 0xff, 0xff}), func(s Stats) uint64 { return s.BadFrames }},
		{"too many entries", forMessages, emptyEntries(MaxMessageEntries + 1), func(s Stats) uint64 { return s.BadFrames }},
		{"storage responses", forMessages, valid(responses), func(s Stats) uint64 { return s.BadFrames }},
		{"forged sender", forMessages, valid(message(pb.MsgApp, 3, 1, 1)), func(s Stats) uint64 { return s.ForgedMessages }},
		{"wrong recipient", forMessages, valid(message(pb.MsgApp, 2, 3, 1)), func(s Stats) uint64 { return s.ForgedMessages }},
		{"short request", forCalls, appendFrame(nil, frameRequest, make([]byte, requestFixed-1)), func(s Stats) uint64 { return s.BadFrames }},
		{"short cancel", forCalls, appendFrame(nil, frameCancel, make([]byte, 7)), func(s Stats) uint64 { return s.BadFrames }},
		{"short ping", forCalls, appendFrame(nil, framePing, make([]byte, 7)), func(s Stats) uint64 { return s.BadFrames }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := connectTo(t, n)
			if f := s.greet(t, asMember2(test.use)); f.typ != frameHello {
				t.Fatalf("answered with frame type %d", f.typ)
			}
			before := test.counter(n.Stats())
			s.write(t, test.bytes)
			s.awaitEnd(t)
			eventually(t, "the fault to be counted", func() bool { return test.counter(n.Stats()) == before+1 })
			if len(n.heard.messages) > 0 {
				t.Errorf("the handler got %v", (<-n.heard.messages).m)
			}
		})
	}
	checkUnharmed(t, n, neighbour)
}

func TestBadHandshakes(t *testing.T) {
	n, neighbour := goodNeighbour(t)
	for name, b := range map[string][]byte{
		"garbage":           []byte("GET / HTTP/1.1\r\nHost: metadata\r\n\r\n"),
		"zeros":             make([]byte, 64),
		"oversized hello":   appendFrame(nil, frameHello, make([]byte, MaxHelloBytes+1)),
		"message first":     appendFrame(nil, frameMessage, nil),
		"hello cut short":   appendFrame(nil, frameHello, asMember2(forMessages).append(nil)[:helloFixed-1]),
		"string cut short":  appendFrame(nil, frameHello, asMember2(forMessages).append(nil)[:helloFixed+3]),
		"unknown purpose":   appendFrame(nil, frameHello, asMember2(4).append(nil)),
		"silence":           nil,
		"half a header":     {0, 0, 0},
		"half a hello":      appendFrame(nil, frameHello, asMember2(forMessages).append(nil))[:headerBytes+5],
		"refusal first":     appendFrame(nil, frameRefusal, appendRefusal(nil, &RefusedError{Code: 1})),
		"hello, bad digest": append(appendFrame(nil, frameHello, nil)[:headerBytes-1], 0xee),
	} {
		t.Run(name, func(t *testing.T) {
			before := n.Stats().HandshakeFailures
			s := connectTo(t, n)
			s.write(t, b)
			s.awaitEnd(t)
			eventually(t, "the failure to be counted", func() bool { return n.Stats().HandshakeFailures == before+1 })
		})
	}
	checkUnharmed(t, n, neighbour)
}

func TestHalfOpenHandshakesAreBounded(t *testing.T) {
	n := lonely(t, func(c *Config) { c.Timing.Handshake = waitLimit })
	first := connectTo(t, n)
	eventually(t, "the first to be accepted", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.handshaking) == 1
	})
	for range MaxHandshakes {
		connectTo(t, n)
	}
	first.awaitEnd(t) // the oldest makes room
	if got := n.Stats().HandshakesEvicted; got != 1 {
		t.Errorf("%d evictions counted, want 1", got)
	}
	// A member that does speak gets in all the same.
	if f := connectTo(t, n).greet(t, asMember2(forMessages)); f.typ != frameHello {
		t.Errorf("answered with frame type %d", f.typ)
	}
}

func TestCallsOverTheServersLimit(t *testing.T) {
	release := make(chan struct{})
	n := lonely(t, func(c *Config) {
		r := newRecorder()
		r.call = blockingCall(release)
		c.Handler = r
	})
	s := connectTo(t, n)
	if f := s.greet(t, asMember2(forCalls)); f.typ != frameHello {
		t.Fatalf("answered with frame type %d", f.typ)
	}
	var b []byte
	for id := range uint64(MaxServing + 1) {
		b = appendRequest(b, id, 1, 0, nil)
	}
	// A cancelled call whose handler goes on still counts.
	b = appendFrame(b, frameCancel, make([]byte, 8))
	b = appendRequest(b, MaxServing+1, 1, 0, nil)
	s.write(t, b)
	for _, want := range []uint64{MaxServing, MaxServing + 1} {
		f, err := s.frames.next()
		if err != nil || f.typ != frameFailure {
			t.Fatalf("got frame type %d, %v", f.typ, err)
		}
		id, failure, err := parseFailure(f.payload)
		if err != nil || id != want || failure.Code != CodeBusy {
			t.Errorf("call %d: %v, %v; want CodeBusy for %d", id, failure, err, want)
		}
	}
	close(release)
	for range MaxServing {
		if f, err := s.frames.next(); err != nil || f.typ != frameAnswer {
			t.Fatalf("got frame type %d, %v", f.typ, err)
		}
	}
	if got := n.Stats().CallsRefusedAsBusy; got != 2 {
		t.Errorf("%d busy answers counted, want 2", got)
	}
}

func TestCallIDsAreUsedOnce(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	n := lonely(t, func(c *Config) {
		r := newRecorder()
		r.call = blockingCall(release)
		c.Handler = r
	})
	s := connectTo(t, n)
	s.greet(t, asMember2(forCalls))
	s.write(t, appendRequest(appendRequest(nil, 5, 1, 0, nil), 5, 1, 0, nil))
	s.awaitEnd(t)
	eventually(t, "the fault to be counted", func() bool { return n.Stats().BadFrames == 1 })
}

func TestBadAnswers(t *testing.T) {
	for name, b := range map[string][]byte{
		"short answer":  appendFrame(nil, frameAnswer, make([]byte, 7)),
		"short failure": appendFrame(nil, frameFailure, make([]byte, failureFixed-1)),
		"long reason":   appendFrame(nil, frameFailure, []byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 9, 0xff, 0xff}),
	} {
		table := newCallTable()
		var fault *FrameError
		r := newFrameReader(newReader(b), MaxFrame)
		f, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		if err := table.receive(&conn{frames: r})(f); !errors.As(err, &fault) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// An answer that nobody waits for is no fault: the caller may have given up.
	f := frame{typ: frameAnswer, payload: make([]byte, 8)}
	if err := newCallTable().receive(&conn{frames: newFrameReader(newReader(nil), MaxFrame)})(f); err != nil {
		t.Errorf("a late answer: %v", err)
	}
}
