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
