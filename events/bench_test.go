package events

import (
	"fmt"
	"testing"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// wideTable is a table of 20 columns, about 500 bytes.
func wideTable() *metadatav1.Event {
	t := sampleTable()
	t.Columns = nil
	for i := range 20 {
		t.Columns = append(t.Columns, &metadatav1.ColumnSchema{
			ColumnId: uint32(i + 1), Name: fmt.Sprintf("column_%02d", i),
			DataType: &metadatav1.DataType{Kind: metadatav1.TypeKind_TYPE_KIND_STRING},
		})
	}
	return &metadatav1.Event{Kind: &metadatav1.Event_TableCreated{TableCreated: &metadatav1.TableCreated{Table: t}}}
}

func BenchmarkNewAndSeal(b *testing.B) {
	m := wideTable()
	b.ReportAllocs()
	for b.Loop() {
		Seal(Header{Revision: 1, Time: noon, Actor: "ann", RequestID: "request"}, []Event{New(m)})
	}
}

func BenchmarkSeal(b *testing.B) {
	evs := []Event{New(wideTable())}
	b.ReportAllocs()
	for b.Loop() {
		Seal(Header{Revision: 1, Time: noon, Actor: "ann", RequestID: "request"}, evs)
	}
}

func BenchmarkDecodeChange(b *testing.B) {
	raw := Seal(Header{Revision: 1, Time: noon, Actor: "ann", RequestID: "request"}, []Event{New(wideTable())}).Raw()
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeChange(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDigestNext(b *testing.B) {
	raw := Seal(Header{Revision: 1, Time: noon}, []Event{New(wideTable())}).Raw()
	var d Digest
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		d = d.Next(raw)
	}
}
