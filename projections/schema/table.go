package schema

import (
	"cmp"
	"fmt"
	"math"
	"unsafe"

	"github.com/heliosdb/metadata/projections/internal/fold"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// Table is one table as it was logged. It is immutable.
//
// It is the head of its encoding, which lies behind it in the same allocation and
// is found by arithmetic: a model has up to a million tables, and to the garbage
// collector each of them is one object without pointers, which it need not look
// into. So collecting costs less than half, and memory a tenth less, than with
// strings. Only newTable makes Tables; a copy of the head alone would be useless.
type Table struct {
	id, version     uint64
	size            uint32 // of the encoding
	namespace, name span
}

// span is a part of an encoding that lies near its beginning and is short, as names are. It is
// as small as it can be: a million tables have two each.
type span struct{ at, size uint16 }

const headSize = unsafe.Sizeof(Table{})

// blank is the head of a table that is being made.
var blank [headSize]byte

// newTable copies the encoding. Appending it to a head takes memory that need not be cleared first, and
// is aligned for heads: Go aligns by 8 bytes all that is as large.
func newTable(raw []byte) (*Table, error) {
	switch {
	case len(raw) == 0:
		return new(Table), nil
	case len(raw) > math.MaxUint32:
		return nil, fmt.Errorf("a table of %d bytes", len(raw))
	}
	t := (*Table)(unsafe.Pointer(unsafe.SliceData(append(blank[:], raw...))))
	t.size = uint32(len(raw))
	whole := t.raw()
	var far error
	err := fold.Fields(whole, func(num protowire.Number, number uint64, value string) {
		switch num {
		case 1:
			t.id = number
		case 2:
			t.namespace, far = spanOf(whole, value, far)
		case 3:
			t.name, far = spanOf(whole, value, far)
		case 8:
			t.version = number
		}
	})
	return t, cmp.Or(err, far)
}

// spanOf returns where a part of an encoding lies, and the error if it is too far behind or too
// long, or the one that there was before.
func spanOf(whole, part string, before error) (span, error) {
	if part == "" {
		return span{}, before
	}
	at := uintptr(unsafe.Pointer(unsafe.StringData(part))) - uintptr(unsafe.Pointer(unsafe.StringData(whole)))
	if max(int(at), len(part)) > math.MaxUint16 {
		return span{}, fmt.Errorf("a table with a name of %d bytes at byte %d", len(part), at)
	}
	return span{uint16(at), uint16(len(part))}, before
}

func (t *Table) part(s span) string { return t.raw()[s.at:][:s.size] }

func (t *Table) raw() string { return fold.View(t.Bytes()) }

// ID returns the table's id.
func (t *Table) ID() uint64 { return t.id }

// Namespace returns the name of the table's namespace.
func (t *Table) Namespace() string {
	if t.namespace.size == 0 {
		return Public
	}
	return t.part(t.namespace)
}

// Name returns the table's name within its namespace.
func (t *Table) Name() string {
	return t.part(t.name)
}

// Version returns the table's version.
func (t *Table) Version() uint64 { return t.version }

// Bytes returns the encoding. It is shared: never write to it.
func (t *Table) Bytes() []byte {
	if t.size == 0 {
		return nil // behind it there is the end of the memory
	}
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(t), headSize)), t.size)
}

// Message decodes the table. The message is the caller's.
func (t *Table) Message() *metadatav1.TableSchema {
	m := new(metadatav1.TableSchema)
	fold.Decode(t.raw(), m)
	return m
}
