package pebblestore

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
)

// benchStore is a bootstrapped store in memory.
func benchStore(tb testing.TB) *Store {
	tb.Helper()
	s, err := Open("/data", Options{FS: vfs.NewMem(), FloorTicks: make(chan time.Time), Fatal: func(err error) { panic(err) }})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	peers := []raftlog.Peer{{ID: 1, Addr: "one:5000"}}
	id := raftlog.Identity{Format: raftlog.IdentityFormat, ClusterName: "bench", Member: 1, Peers: peers}
	if err := s.Bootstrap(id, []raftlog.GroupID{1, 2}, []uint64{1}); err != nil {
		tb.Fatal(err)
	}
	return s
}

// typicalWrite is what a follower stores for one entry: the entry, the commit index and the
// history of the entry before.
func typicalWrite(index uint64, data []byte) *raftlog.Write {
	w := &raftlog.Write{
		Group: 1, Sync: true, Entries: []*pb.Entry{{Index: new(index), Term: new(uint64(2)), Data: data}},
		HardState: &raftlog.HardState{Term: 2, Vote: 1, Commit: index - 1},
	}
	if index > raftlog.GenesisIndex+1 {
		w.History = []raftlog.Record{{First: 10 * index, Last: 10*index + 9, Entry: index - 1, Data: make([]byte, 32)}}
	}
	return w
}

func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{600, 20_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s, data, index := benchStore(b), make([]byte, size), raftlog.GenesisIndex
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				index++
				if err := s.Write([]*raftlog.Write{typicalWrite(index, data)}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestWriteAllocates guards what filling a batch costs, which every entry pays: nothing of it
// grows with the entry.
func TestWriteAllocates(t *testing.T) {
	s := benchStore(t)
	ws := []*raftlog.Write{typicalWrite(2, make([]byte, 20_000))}
	b := s.db.NewBatchWithSize(1 << 16)
	defer b.Close()
	n := testing.AllocsPerRun(100, func() {
		b.Reset()
		if _, err := s.prepare(b, ws); err != nil {
			t.Fatal(err)
		}
	})
	if n != 1 {
		t.Fatalf("a typical write costs %v allocations, want 1: the group's state after it", n)
	}
}
