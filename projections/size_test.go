package projections

import (
	"runtime"
	"testing"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/schema"
)

// heapOfTables returns how much heap a model takes for a table, and how much of that is
// the table's encoding.
func heapOfTables(n int) (heap, encoded float64) {
	before := liveHeap()
	model := benchSchema(n).Model // without the window of requests, whose size is constant
	heap = float64(liveHeap()-before) / float64(n)
	encoded = float64(sizeOf(model)) / float64(n)
	runtime.KeepAlive(model)
	return heap, encoded
}

func sizeOf(m *schema.Model) (bytes int) {
	for t := range m.TablesByID(0) {
		bytes += len(t.Bytes())
	}
	return bytes
}

// liveHeap collects twice: what has a finalizer or is in a pool is free after that.
func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// maxOverhead is what a model may add to the encoding of a table of 20 columns: its head,
// what the allocator rounds up, and places in two indexes.
const maxOverhead = 130

// TestATableTakesLittleMemory guards the memory of a member, which is its tables before
// anything else.
func TestATableTakesLittleMemory(t *testing.T) {
	heap, encoded := heapOfTables(20_000)
	t.Logf("%.0f bytes of heap for a table of %.0f", heap, encoded)
	if heap > encoded+maxOverhead {
		t.Errorf("a table of %.0f bytes takes %.0f of heap, at most %d more expected", encoded, heap, maxOverhead)
	}
}

func BenchmarkHeapOfTables(b *testing.B) {
	for b.Loop() {
		heap, encoded := heapOfTables(benchTables)
		b.ReportMetric(heap, "heap-B/table")
		b.ReportMetric(heap-encoded, "overhead-B/table")
	}
}

// TestFoldingAllocatesLittle guards what each member pays for each change: a table, with its
// name when that is new, and when a fold is of one change alone the path to it in each index that is
// copied. Many at once share most of these copies.
func TestFoldingAllocatesLittle(t *testing.T) {
	s := benchSchema(1000)
	var created, altered []*events.Change
	for i := range uint64(100) {
		created = append(created, benchTable(s.Head.Revision+1+i))
		altered = append(altered, alteredTable(s.Head.Revision+1+i, 1+i))
	}
	for _, c := range []struct {
		name    string
		changes []*events.Change
		limit   float64
	}{
		{"one created", created[:1], 34},
		{"a hundred created", created, 255},
		{"one altered", altered[:1], 20},
		{"a hundred altered", altered, 134},
	} {
		s.FoldAll(c.changes)
		got := testing.AllocsPerRun(50, func() { s.FoldAll(c.changes) })
		if got > c.limit {
			t.Errorf("folding %s allocates %v times, at most %v expected", c.name, got, c.limit)
		}
	}
}
