package schema

import (
	"bytes"
	"testing"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// A table is aligned as its head has to be and has an encoding of its own, whatever its size.
func TestTablesOfAllSizes(t *testing.T) {
	const unknown protowire.Number = 100
	all := [][]byte{nil}
	for size := range 2000 {
		all = append(all, protowire.AppendBytes(protowire.AppendTag(nil, unknown, protowire.BytesType), make([]byte, size)))
	}
	for _, raw := range all {
		table, err := newTable(raw)
		if err != nil {
			t.Fatalf("of %d bytes: %v", len(raw), err)
		}
		if at := uintptr(unsafe.Pointer(table)); at%unsafe.Alignof(*table) != 0 {
			t.Fatalf("of %d bytes it is at %#x", len(raw), at)
		}
		if !bytes.Equal(table.Bytes(), raw) || len(raw) > 0 && unsafe.SliceData(table.Bytes()) == unsafe.SliceData(raw) {
			t.Fatalf("of %d bytes it is %v", len(raw), table.Bytes())
		}
		if another, _ := newTable(raw); another == table || blank != [headSize]byte{} {
			t.Fatalf("of %d bytes two are one", len(raw))
		}
	}
}
