package objects

import (
	"testing"

	"github.com/heliosdb/metadata/internal/pasts"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// benchChanges is the length of the pasts that are measured: some segments.
const benchChanges = 3 * SegmentRevisions

func BenchmarkTags(b *testing.B) {
	changes := pasts.Schema(1, 1000)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		Tags(changes[i%len(changes)])
		i++
	}
}

// BenchmarkAsOf reads a table at an old revision, with the marks of all but the newest
// segment at hand.
func BenchmarkAsOf(b *testing.B) {
	source := pasts.NewSource(pasts.Schema(1, benchChanges))
	x := NewIndex(source, new(MemoryMarks))
	for more := true; more; {
		var err error
		if more, err = x.Extend(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	l := NewLog(source, x)
	table := pasts.Schema(1, 100)[50].Events()[0].Message()
	for _, s := range stepOf(table).after {
		if t, ok := s.(*metadatav1.TableSchema); ok {
			ref := tableRef(t.TableId, "", "")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.AsOf(b.Context(), ref, 51); err != nil {
					b.Fatal(err)
				}
			}
			return
		}
	}
	b.Fatal("change 51 is not about a table")
}
