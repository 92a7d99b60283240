package transport

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/heliosdb/metadata/raftlog"
)

func TestMessagesKeepTheirOrder(t *testing.T) {
	const count, batch = 2000, 50
	nodes := startCluster(t, 3, nil)
	awaitUp(t, nodes)
	for id, n := range nodes {
		for i := uint64(0); i < count; i += batch {
			var out []*pb.Message
			for j := range uint64(batch) {
				for to := range nodes {
					if to != id {
						body := binary.BigEndian.AppendUint64(nil, id*count+i+j)
						out = append(out, message(pb.MsgApp, id, to, i+j, body, bytes.Repeat([]byte{byte(j)}, 100)))
					}
				}
			}
			if dropped := n.Send(raftlog.GroupID(id), out); len(dropped) > 0 {
				t.Fatalf("member %d: %d messages dropped", id, len(dropped))
			}
		}
	}
	for id, n := range nodes {
		next := map[uint64]uint64{}
		for range 2 * count {
			r := n.awaitMessage(t)
			if got := r.m.GetIndex(); got != next[r.from] {
				t.Fatalf("member %d: message %d from %d, want %d", id, got, r.from, next[r.from])
			}
			if got := binary.BigEndian.Uint64(r.m.GetEntries()[0].GetData()); got != r.from*count+next[r.from] {
				t.Fatalf("member %d: content %d in message %d of %d", id, got, next[r.from], r.from)
			}
			if r.group != raftlog.GroupID(r.from) || r.m.GetTo() != id || r.m.GetFrom() != r.from {
				t.Fatalf("member %d: message of group %d from %d came as %d from %d", id, r.group, r.m.GetFrom(), r.group, r.from)
			}
			next[r.from]++
		}
	}
}

func TestMessagesQueuedTogetherAreWrittenTogether(t *testing.T) {
	nodes := startCluster(t, 2, nil)
	awaitUp(t, nodes)
	before := nodes[1].Stats()
	const count = 1000
	var out []*pb.Message
	for i := range uint64(count) {
		out = append(out, message(pb.MsgApp, 1, 2, i, make([]byte, 100)))
	}
	nodes[1].Send(1, out)
	for range count {
		nodes[2].awaitMessage(t)
	}
	after := nodes[1].Stats()
	if sent := after.MessagesSent - before.MessagesSent; sent != count {
		t.Errorf("%d messages counted, want %d", sent, count)
	}
	// One write for the messages; the rest is room for pings and pongs.
	if writes := after.Flushes - before.Flushes; writes > 8 {
		t.Errorf("%d writes for %d messages queued at once", writes, count)
	}
}

func TestSendNeverBlocks(t *testing.T) {
	release := make(chan struct{})
	nodes := startCluster(t, 2, func(c *Config) {
		if c.Member == 2 {
			r := newRecorder()
			r.block = release
			c.Handler = r
		}
	})
	awaitUp(t, nodes)
	defer close(release)
	var dropped []*pb.Message
	for i := 0; len(dropped) == 0; i++ {
		if i > 4*MaxQueuedMessages {
			t.Fatalf("nothing was dropped in %d messages", i)
		}
		dropped = nodes[1].Send(1, []*pb.Message{message(pb.MsgApp, 1, 2, uint64(i), make([]byte, 64<<10))})
	}
	if got := nodes[1].Stats().MessagesDropped; got != uint64(len(dropped)) {
		t.Errorf("counted %d dropped messages, Send returned %d", got, len(dropped))
	}
}

func TestSendReturnsWhatItCannotSend(t *testing.T) {
	nodes := startCluster(t, 1, func(c *Config) {
		c.Peers = map[uint64]string{2: "127.0.0.1:1"}
	})
	out := []*pb.Message{message(pb.MsgVote, 1, 2, 1), message(pb.MsgVote, 1, 3, 2)}
	if dropped := nodes[1].Send(1, out); !slices.Equal(dropped, out) {
		t.Errorf("dropped %v, want both: one peer is down, the other unknown", dropped)
	}
}

func TestFullQueueDropsOldestExpendable(t *testing.T) {
	o := newOutbox()
	var dropped []*pb.Message
	put := func(m *pb.Message) { dropped = o.putMessage(1, m, dropped) }
	vote := message(pb.MsgVote, 1, 2, 0)
	put(vote)
	for i := range uint64(MaxQueuedMessages - 1) {
		put(message(pb.MsgHeartbeat, 1, 2, i))
	}
	if len(dropped) > 0 {
		t.Fatalf("%d dropped from a queue within its limit", len(dropped))
	}
	put(message(pb.MsgApp, 1, 2, 7777))
	if len(dropped) != 1 || dropped[0].GetType() != pb.MsgHeartbeat || dropped[0].GetIndex() != 0 {
		t.Fatalf("dropped %v, want the oldest heartbeat", dropped)
	}
	var p parcel
	if more, open := o.take(&p); !more || !open {
		t.Fatalf("take: more=%v open=%v", more, open)
	}
	if len(p.messages) != MaxQueuedMessages || p.messages[0].m != vote || p.messages[MaxQueuedMessages-1].m.GetIndex() != 7777 {
		t.Errorf("the queue lost its vote, its newest message or its order")
	}
	if o.bytes != 0 {
		t.Errorf("an empty queue counts %d bytes", o.bytes)
	}
}

func TestFullQueueKeepsVotes(t *testing.T) {
	o := newOutbox()
	for i := range uint64(MaxQueuedMessages) {
		o.putMessage(1, message(pb.MsgVote, 1, 2, i), nil)
	}
	late := message(pb.MsgHeartbeat, 1, 2, 1)
	if dropped := o.putMessage(1, late, nil); len(dropped) != 1 || dropped[0] != late {
		t.Errorf("dropped %v, want only the newcomer", dropped)
	}
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	o := newOutbox()
	const size = 1 << 20
	dropped := 0
	for i := range uint64(2 * MaxQueuedBytes / size) {
		dropped += len(o.putMessage(1, message(pb.MsgApp, 1, 2, i, make([]byte, size)), nil))
		if o.bytes > MaxQueuedBytes {
			t.Fatalf("%d bytes queued after %d messages, the limit is %d", o.bytes, i+1, MaxQueuedBytes)
		}
	}
	if kept := 2*MaxQueuedBytes/size - dropped; kept != len(o.messages) || kept < MaxQueuedBytes/size/2 {
		t.Errorf("kept %d messages, %d are queued", kept, len(o.messages))
	}
}

func TestRoundTripTimeIsMeasured(t *testing.T) {
	nodes := startCluster(t, 2, nil)
	awaitUp(t, nodes)
	eventually(t, "a round-trip time", func() bool {
		hello, connected, rtt, ok := nodes[1].Peer(2)
		return ok && connected && rtt > 0 && rtt < waitLimit && hello.Member == 2 && hello.Advertise == "127.0.0.1:9000"
	})
	if _, _, _, ok := nodes[1].Peer(9); ok {
		t.Error("an unknown peer has a hello")
	}
}

func TestClosedTransport(t *testing.T) {
	nodes := startCluster(t, 2, nil)
	awaitUp(t, nodes)
	nodes[1].Close()
	nodes[1].Close()
	nodes[1].Start()
	if dropped := nodes[1].Send(1, []*pb.Message{message(pb.MsgVote, 1, 2, 1)}); len(dropped) != 1 {
		t.Error("a closed transport took a message")
	}
	if nodes[1].Stats().Inbound != 0 {
		t.Errorf("a closed transport has %d connections", nodes[1].Stats().Inbound)
	}
}

func TestCloseWritesWhatIsQueued(t *testing.T) {
	nodes := startCluster(t, 2, nil)
	awaitUp(t, nodes)
	nodes[1].Send(1, []*pb.Message{message(pb.MsgTimeoutNow, 1, 2, 42)})
	start := time.Now()
	nodes[1].Close()
	if took := time.Since(start); took > waitLimit/2 {
		t.Errorf("Close took %v", took)
	}
	if r := nodes[2].awaitMessage(t); r.m.GetIndex() != 42 {
		t.Errorf("got %v", r.m)
	}
}
