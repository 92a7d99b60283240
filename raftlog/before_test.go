package raftlog

import (
	"testing"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

func TestBefore(t *testing.T) {
	m := &memory{MemoryStorage: raft.NewMemoryStorage()}
	if got := m.before(9, 100); got != 0 {
		t.Errorf("of no entries: %d", got)
	}
	var entries []*pb.Entry
	for i, size := range []int{10, 20, 0, 30, 40} {
		entries = append(entries, &pb.Entry{Index: new(uint64(i + 1)), Term: new(uint64(1)), Data: make([]byte, size)})
	}
	if err := m.Append(entries); err != nil {
		t.Fatal(err)
	}
	if err := m.Compact(1); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ end, bytes, want uint64 }{
		{5, 1000, 1}, {5, 90, 1}, {5, 89, 2}, {5, 70, 2}, {5, 69, 4}, {5, 40, 4}, {5, 39, 5}, {4, 30, 2}, {9, 40, 4}, {1, 10, 1}, {0, 10, 0},
	} {
		if got := m.before(c.end, c.bytes); got != c.want {
			t.Errorf("before entries of %d bytes up to %d: %d, want %d", c.bytes, c.end, got, c.want)
		}
	}
}
