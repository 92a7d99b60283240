package schema

import (
	"fmt"
	"math"
	"sync"
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

// span is a part of an encoding.
type span struct{ at, size uint32 }

const headSize = unsafe.Sizeof(Table{})

// newTable copies the encoding.
func newTable(raw []byte) (*Table, error) {
	const word = unsafe.Sizeof(uint64(0)) // aligned as the head has to be
	memory := make([]uint64, (headSize+uintptr(len(raw))+word-1)/word)
	t := (*Table)(unsafe.Pointer(unsafe.SliceData(memory)))
	if len(raw) >= sought {
		return t, fmt.Errorf("a table of %d bytes", len(raw))
	}
	t.size = uint32(len(raw))
	copy(t.Bytes(), raw)
	whole := t.raw()
	err := fold.Fields(whole, func(num protowire.Number, number uint64, value string) {
		switch num {
		case 1:
			t.id = number
		case 2:
			t.namespace = spanOf(whole, value)
		case 3:
			t.name = spanOf(whole, value)
		case 8:
			t.version = number
		}
	})
	return t, err
}

// spanOf returns where a part of an encoding lies.
func spanOf(whole, part string) span {
	if part == "" {
		return span{}
	}
	at := uintptr(unsafe.Pointer(unsafe.StringData(part))) - uintptr(unsafe.Pointer(unsafe.StringData(whole)))
	return span{uint32(at), uint32(len(part))}
}

func (t *Table) part(s span) string { return t.raw()[s.at : s.at+s.size] }

func (t *Table) raw() string { return fold.View(t.Bytes()) }

// ID returns the table's id.
func (t *Table) ID() uint64 { return t.id }

// Namespace returns the name of the table's namespace.
func (t *Table) Namespace() string {
	switch {
	case t.size == sought:
		return (*lookup)(unsafe.Pointer(t)).namespace
	case t.namespace.size == 0:
		return Public
	}
	return t.part(t.namespace)
}

// Name returns the table's name within its namespace.
func (t *Table) Name() string {
	if t.size == sought {
		return (*lookup)(unsafe.Pointer(t)).name
	}
	return t.part(t.name)
}

// Version returns the table's version.
func (t *Table) Version() uint64 { return t.version }

// Bytes returns the encoding. It is shared: never write to it.
func (t *Table) Bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(t), headSize)), t.size)
}

// Message decodes the table. The message is the caller's.
func (t *Table) Message() *metadatav1.TableSchema {
	m := new(metadatav1.TableSchema)
	fold.Decode(t.raw(), m)
	return m
}

// lookup is a name to look for, in the shape of what the index of names holds:
// tables alone, so that an item is no larger than a pointer, because every change
// copies a path of nodes full of items.
type lookup struct {
	Table           // nothing but a size that says so
	namespace, name string
}

// sought is the size of a lookup.
const sought = math.MaxUint32

// lookups are used again, so that looking up a name allocates nothing.
var lookups = sync.Pool{New: func() any { return newLookup("", "") }}

func newLookup(namespace, name string) *lookup {
	return &lookup{Table{size: sought}, namespace, name}
}

// lessName orders tables by namespace and name.
func lessName(a, b *Table) bool {
	if x, y := a.Namespace(), b.Namespace(); x != y {
		return x < y
	}
	return a.Name() < b.Name()
}
