package raftlog

import (
	"testing"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

func TestMemoryCountsTheBytesOfTheLog(t *testing.T) {
	m := &memory{MemoryStorage: raft.NewMemoryStorage()}
	entries := func(from uint64, sizes ...int) []*pb.Entry {
		var es []*pb.Entry
		for i, n := range sizes {
			es = append(es, &pb.Entry{Index: new(from + uint64(i)), Term: new(uint64(1)), Data: make([]byte, n)})
		}
		return es
	}
	for _, step := range []struct {
		what string
		do   func() error
		want uint64
	}{
		{"append", func() error { return m.Append(entries(1, 10, 20, 30)) }, 60},
		{"nothing", func() error { return m.Append(nil) }, 60},
		{"replace the tail", func() error { return m.Append(entries(2, 5)) }, 15},
		{"append more", func() error { return m.Append(entries(3, 7, 8)) }, 30},
		{"cut", func() error { return m.Compact(2) }, 15},
		{"cut all", func() error { return m.Compact(4) }, 0},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if m.bytes != step.want {
			t.Fatalf("%s: %d bytes, want %d", step.what, m.bytes, step.want)
		}
	}
}
