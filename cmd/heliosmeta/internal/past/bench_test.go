package past

import (
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history/historytest"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/raftlog/pebblestore"
	pb "go.etcd.io/raft/v3/raftpb"
)

// What the benchmarks read: as many tables as a member may have after a while, altered one after
// the other, and so many changes to an entry of the log as a busy leader puts there.
const (
	benchTables       = 10_000
	benchChanges      = 100_000
	benchColumns      = 20
	benchEntryChanges = 20
)

// busyChanges create the tables and alter them in turn.
func busyChanges() []*events.Change {
	changes := historytest.Tables(benchTables, benchColumns)
	for revision := uint64(benchTables + 1); revision <= benchChanges; revision++ {
		before := changes[revision-1-benchTables].Events()[0].Message()
		t := before.GetTableAltered().GetTable()
		if t == nil {
			t = before.GetTableCreated().GetTable()
		}
		t = proto.CloneOf(t)
		t.Version, t.UpdatedRevision = t.Version+1, revision
		changes = append(changes, historytest.Seal(revision, &metadatav1.Event{Kind: &metadatav1.Event_TableAltered{
			TableAltered: &metadatav1.TableAltered{Table: t},
		}}))
	}
	return changes
}

// busyMember writes the directory of a member that has taken the changes, and stops it.
func busyMember(b *testing.B, changes []*events.Change) (dir string) {
	b.Helper()
	dir = filepath.Join(b.TempDir(), "member")
	store, err := pebblestore.Open(dir, pebblestore.Options{ReserveBytes: 1})
	must(b, err)
	groups := []raftlog.GroupID{raftlog.GroupID(schemaStream), raftlog.GroupID(topologyStream), raftlog.GroupID(serviceStream)}
	must(b, store.Bootstrap(identity, groups, []uint64{1}))
	head := projections.NewSchema(events.ClusterID(identity.ClusterID), 0).Head
	for index := raftlog.GenesisIndex + 1; len(changes) > 0; index++ {
		batch := events.Batch{Stream: head.Stream, Cluster: head.Cluster, Term: 2, Previous: head.Digest, Changes: changes[:benchEntryChanges]}
		changes = changes[benchEntryChanges:]
		record := raftlog.Record{First: head.Revision + 1, Last: head.Revision + benchEntryChanges, Entry: index}
		for _, c := range batch.Changes {
			head.Revision, head.Digest = c.Revision(), head.Digest.Next(c.Raw())
		}
		record.Data = head.Digest[:]
		must(b, store.Write([]*raftlog.Write{{
			Group: raftlog.GroupID(schemaStream), Sync: len(changes) == 0, HardState: &raftlog.HardState{Term: 2, Vote: 1, Commit: index},
			Entries: []*pb.Entry{{Index: new(index), Term: new(uint64(2)), Data: batch.Encode()}}, History: []raftlog.Record{record},
		}}))
	}
	must(b, store.Close())
	return dir
}

// onEach runs a benchmark on a directory and on a file with the same changes.
func onEach(b *testing.B, run func(*testing.B, Past)) {
	changes := busyChanges()
	for name, at := range map[string]string{
		"directory": busyMember(b, changes),
		"file":      exported(b, nil, historytest.New(schemaStream, changes)),
	} {
		b.Run(name, func(b *testing.B) {
			open := OpenDirectory
			if name == "file" {
				open = func(path string) (Past, error) { return OpenFile(path) }
			}
			p, err := open(at)
			must(b, err)
			b.ReportAllocs()
			run(b, p)
			b.ReportMetric(benchChanges*float64(b.N)/b.Elapsed().Seconds(), "changes/s")
			must(b, p.Close())
		})
	}
}

// BenchmarkVerify verifies the whole history: MB/s are of changes as logged.
func BenchmarkVerify(b *testing.B) {
	onEach(b, func(b *testing.B, p Past) {
		for b.Loop() {
			verdicts, err := Verify(b.Context(), p, []metadatav1.Stream{schemaStream}, nil, nil)
			must(b, err)
			if got := verdicts[0].History.Changes(); got != benchChanges {
				b.Fatalf("%d changes were verified", got)
			}
			b.SetBytes(int64(verdicts[0].History.Bytes))
		}
	})
}

// BenchmarkReplay folds the whole history.
func BenchmarkReplay(b *testing.B) {
	onEach(b, func(b *testing.B, p Past) {
		source, err := p.Source(b.Context(), schemaStream)
		must(b, err)
		for b.Loop() {
			state, err := p.Beginning(b.Context(), schemaStream)
			must(b, err)
			state, err = state.Replay(b.Context(), source, 0, nil)
			must(b, err)
			if got := state.Head().Revision; got != benchChanges {
				b.Fatalf("it was replayed to revision %d", got)
			}
		}
	})
}
