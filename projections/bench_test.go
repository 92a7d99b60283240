package projections

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/heliosdb/metadata/events"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

const benchTables = 100_000

// benchTable creates a table of 20 columns.
func benchTable(revision uint64) *events.Change {
	created := &metadatav1.TableCreated{Table: tableToBench(revision)}
	return sealed(revision, &metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: created}})
}

// alteredTable alters the table with this id.
func alteredTable(revision, id uint64) *events.Change {
	t := tableToBench(id)
	t.Version = 2
	return sealed(revision, &metadatav1.Event{Kind: &metadatav1.Event_TableAltered{TableAltered: &metadatav1.TableAltered{Table: t}}})
}

func tableToBench(id uint64) *metadatav1.TableSchema {
	t := &metadatav1.TableSchema{
		TableId: id, Namespace: "public", NamespaceId: 1, Name: fmt.Sprintf("table_%08d", id*7919%100_000_007),
		Version: 1, CreatedRevision: id,
	}
	for i := range 20 {
		t.Columns = append(t.Columns, &metadatav1.ColumnSchema{
			ColumnId: uint32(i + 1), Name: fmt.Sprintf("column_%02d", i),
			DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_STRING},
		})
	}
	return t
}

func sealed(revision uint64, m *metadatav1.Event) *events.Change {
	return events.Seal(events.Header{
		Revision: revision, Time: epoch0.Add(time.Duration(revision)), Actor: "bench", RequestID: fmt.Sprintf("request-%d", revision),
	}, []events.Event{events.New(m)})
}

func benchSchema(n int) *Schema {
	s := NewSchema(cluster, 1)
	changes := make([]*events.Change, 0, 1000)
	for i := range n {
		changes = append(changes, benchTable(uint64(i+1)))
		if len(changes) == cap(changes) || i+1 == n {
			s = s.FoldAll(changes)
			changes = changes[:0]
		}
	}
	return s
}

func BenchmarkFoldTableCreated(b *testing.B) {
	s := benchSchema(benchTables)
	c := benchTable(s.Head.Revision + 1)
	b.ReportAllocs()
	for b.Loop() {
		s.Fold(c)
	}
}

func BenchmarkFoldAllOf1000TablesCreated(b *testing.B) { benchmarkFoldAll(b, benchTable) }

func BenchmarkFoldAllOf1000TablesAltered(b *testing.B) {
	benchmarkFoldAll(b, func(revision uint64) *events.Change { return alteredTable(revision, revision%benchTables+1) })
}

func benchmarkFoldAll(b *testing.B, change func(revision uint64) *events.Change) {
	s := benchSchema(benchTables)
	var changes []*events.Change
	for i := range uint64(1000) {
		changes = append(changes, change(s.Head.Revision+1+i))
	}
	b.ReportAllocs()
	for b.Loop() {
		s.FoldAll(changes)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/change")
}

func BenchmarkDraft(b *testing.B) {
	s := benchSchema(benchTables)
	b.ReportAllocs()
	for b.Loop() {
		s.Model.Draft()
	}
}

func BenchmarkTable(b *testing.B) {
	s := benchSchema(benchTables)
	id := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		id = id%benchTables + 1
		if _, ok := s.Model.Table(id); !ok {
			b.Fatal(id)
		}
	}
}

func BenchmarkTableByName(b *testing.B) {
	s := benchSchema(benchTables)
	var names []string
	for t := range s.Model.TablesByID(0) {
		names = append(names, t.Name())
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i = (i + 1) % len(names)
		if _, ok := s.Model.TableByName("", names[i]); !ok {
			b.Fatal(names[i])
		}
	}
}

func BenchmarkShardAt(b *testing.B) {
	var evs []events.Event
	for i := range uint64(10_000) {
		evs = append(evs, events.New(shardCreated(i+1, fmt.Sprintf("%08d", i), fmt.Sprintf("%08d", i+1))))
	}
	s := NewTopology(cluster, 1).Fold(events.Seal(events.Header{Revision: 1, Time: epoch0}, evs))
	key := []byte("00004711-and-more")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.Model.ShardAt(key); !ok {
			b.Fatal("no shard")
		}
	}
}

func BenchmarkHash(b *testing.B) {
	s := benchSchema(benchTables)
	b.ReportAllocs()
	for b.Loop() {
		s.Hash()
	}
}

func BenchmarkImport(b *testing.B) {
	s := benchSchema(benchTables)
	var all [][]byte
	if err := s.Export(func(r []byte) error { all = append(all, slices.Clone(r)); return nil }); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Import(oneBuffer(all)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerify is what a checkpoint of another member costs beside BenchmarkImport.
func BenchmarkVerify(b *testing.B) {
	s := benchSchema(benchTables)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Verify(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchTables, "ns/table")
}
