package diff

import (
	"fmt"
	"testing"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/pasts"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// BenchmarkSchema compares models of 100,000 tables of which one differs.
func BenchmarkSchema(b *testing.B) {
	const tables = 100_000
	s := projections.NewSchema(pasts.Cluster, pasts.Epoch)
	var changes []*events.Change
	seal := func(m *metadatav1.Event) *events.Change {
		changes = append(changes, events.Seal(events.Header{Revision: uint64(len(changes) + 1), Time: pasts.Start}, []events.Event{events.New(m)}))
		return changes[len(changes)-1]
	}
	for id := range uint64(tables) {
		seal(&metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{
			Table: &metadatav1.TableSchema{TableId: id + 1, Name: fmt.Sprint("t", id), Columns: []*metadatav1.ColumnSchema{column(1, "id")}}}}})
	}
	before := s.FoldAll(changes)
	after := before.Fold(seal(&metadatav1.Event{Kind: &metadatav1.Event_TableAltered{TableAltered: &metadatav1.TableAltered{
		Table: &metadatav1.TableSchema{TableId: 500, Name: "t499", Columns: []*metadatav1.ColumnSchema{column(1, "key")}}}}}))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for _, err := range Schema(before.Model, after.Model, nil, Place{}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 1 {
			b.Fatalf("%d differences", n)
		}
	}
}

// BenchmarkMessages compares two versions of a table of 20 columns.
func BenchmarkMessages(b *testing.B) {
	before, after := table(), table()
	for i := range uint32(20) {
		before.Columns = append(before.Columns, column(10+i, fmt.Sprint("c", i)))
		after.Columns = append(after.Columns, column(10+i, fmt.Sprint("c", i)))
	}
	after.Columns[9].Nullable = true
	b.ReportAllocs()
	for b.Loop() {
		if len(Messages(before, after)) != 1 {
			b.Fatal("the tables do not differ in one field")
		}
	}
}
