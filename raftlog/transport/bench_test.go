package transport

import (
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"
)

func BenchmarkMessages(b *testing.B) {
	nodes := startCluster(b, 2, nil)
	awaitUp(b, nodes)
	data := make([]byte, 256)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	before := nodes[1].Stats().Flushes
	b.ResetTimer()
	const window = 256
	for i := range b.N {
		nodes[1].Send(1, []*pb.Message{message(pb.MsgApp, 1, 2, uint64(i), data)})
		if i >= window {
			<-nodes[2].heard.messages
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/float64(nodes[1].Stats().Flushes-before+1), "messages/write")
}

func BenchmarkCallLatency(b *testing.B) {
	nodes := startCluster(b, 2, nil)
	awaitUp(b, nodes)
	payload := make([]byte, 256)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := nodes[1].Call(b.Context(), 2, 1, payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParallelCalls(b *testing.B) {
	nodes := startCluster(b, 2, nil)
	awaitUp(b, nodes)
	payload := make([]byte, 256)
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := nodes[1].Call(b.Context(), 2, 1, payload); err != nil {
				b.Error(err)
			}
		}
	})
}

// entryMessage carries one entry of a batch of changes.
func entryMessage() *pb.Message { return message(pb.MsgApp, 1, 2, 7, make([]byte, 20_000)) }

func BenchmarkEncodeMessage(b *testing.B) {
	m := entryMessage()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = appendMessage(buf[:0], 1, m); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkDecodeMessage(b *testing.B) {
	buf, err := appendMessage(nil, 1, entryMessage())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseMessage(buf[headerBytes:], 1, 2); err != nil {
			b.Fatal(err)
		}
	}
}

// TestMessagesAllocate guards what a message between members costs: nothing to be sent, and
// to be received what it consists of.
func TestMessagesAllocate(t *testing.T) {
	m := entryMessage()
	buf, err := appendMessage(nil, 1, m)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = appendMessage(buf[:0], 1, m) }); n != 0 {
		t.Errorf("encoding costs %v allocations, want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = parseMessage(buf[headerBytes:], 1, 2) }); n != 8 {
		t.Errorf("decoding costs %v allocations, want 8: the message, its entry, their numbers and data", n)
	}
}
