package stored

import (
	"context"
	"fmt"
	"iter"
	"testing"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/history/historytest"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
	"github.com/heliosdb/metadata/raftlog/storagetest"
	pb "go.etcd.io/raft/v3/raftpb"
)

const schemaStream = metadatav1.Stream_STREAM_SCHEMA

// onDisk is a source of what a storage has, and nothing else.
type onDisk struct {
	history.Live
	stored *History
}

func (d onDisk) Origin() history.Origin { return history.Origin{Stream: d.stored.stream} }

func (d onDisk) Read(_ context.Context, from uint64, maxBytes int) ([]*events.Change, error) {
	return d.stored.Read(from, maxBytes)
}

func (d onDisk) Originals(_ context.Context, from uint64, maxBytes int) ([][]byte, error) {
	return d.stored.Originals(from, maxBytes)
}

// BenchmarkScan measures how fast all of a history is read from a disk, decoded and as it was
// logged, by how many changes share an entry of the log.
func BenchmarkScan(b *testing.B) {
	const n = 50_000
	changes := historytest.Tables(n, 10)
	size := int64(0)
	for _, c := range changes {
		size += int64(len(c.Raw()))
	}
	for _, each := range []int{1, 10, 100} {
		source := logged(b, changes, each)
		b.Run(fmt.Sprintf("%d in an entry/decoded", each), func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				drain(b, n, history.Scan(b.Context(), source, 1, n))
			}
		})
		b.Run(fmt.Sprintf("%d in an entry/originals", each), func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				drain(b, n, history.ScanOriginals(b.Context(), source, 1, n))
			}
		})
	}
}

// logged returns a source of changes that are in a storage.
func logged(b *testing.B, changes []*events.Change, each int) onDisk {
	store, err := pebblestore.Open(b.TempDir(), pebblestore.Options{ReserveBytes: 1})
	mustDo(b, err)
	b.Cleanup(func() { mustDo(b, store.Close()) })
	group := raftlog.GroupID(schemaStream)
	mustDo(b, store.Bootstrap(storagetest.Identity(), []raftlog.GroupID{group}, storagetest.Voters))
	for i := 0; i < len(changes); i += each {
		batch := events.Batch{Stream: schemaStream, Term: 2, Changes: changes[i : i+each]}
		index := uint64(i/each + 2)
		mustDo(b, store.Write([]*raftlog.Write{{
			Group: group, HardState: &raftlog.HardState{Term: 2, Commit: index},
			Entries: []*pb.Entry{{Index: &index, Term: &batch.Term, Data: batch.Encode()}},
			History: []raftlog.Record{{First: uint64(i + 1), Last: uint64(i + each), Entry: index, Data: make([]byte, len(events.Digest{}))}},
		}}))
	}
	return onDisk{stored: &History{store: store, group: group, stream: schemaStream}}
}

func mustDo(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func drain[C any](b *testing.B, want int, chunks iter.Seq2[[]C, error]) {
	got := 0
	for chunk, err := range chunks {
		if err != nil {
			b.Fatal(err)
		}
		got += len(chunk)
	}
	if got != want {
		b.Fatalf("%d changes, want %d", got, want)
	}
}
