package workload

import (
	"testing"

	"google.golang.org/protobuf/proto"
)

// TestPayload guards the size that all figures were measured with.
func TestPayload(t *testing.T) {
	for _, n := range []int64{0, 1, 999_999, 1 << 30} {
		table := Table("bench_0123abcd", n)
		if size := proto.Size(table); size < TableBytes-10 || size > TableBytes+10 {
			t.Errorf("table %d has %d bytes, want about %d", n, size, TableBytes)
		}
		if len(table.GetColumns()) != 10 {
			t.Errorf("table %d has %d columns, want 10", n, len(table.GetColumns()))
		}
		if got := TableNumber(table.GetName()); got != n {
			t.Errorf("table %d is taken for table %d", n, got)
		}
	}
	for _, name := range []string{"", "t", "orders", "t12345678x9", "x0000000001"} {
		if n := TableNumber(name); n != -1 {
			t.Errorf("%q is taken for table %d", name, n)
		}
	}
}
