package schema

import (
	"sync"
	"unsafe"
)

// name says which table has a name: an item of the index of names. It is immutable, and stays
// while its table is altered: only who gives or takes a name searches that index, where
// comparing costs the most.
//
// Its text lies behind it, as a Table's encoding does, and for the same reason.
type name struct {
	id               uint64 // of the table
	namespace, table uint32 // lengths of the two parts of the text; no namespace means "public"
}

const nameHeadSize = unsafe.Sizeof(name{})

// newName copies the texts.
func newName(id uint64, namespace, table string) *name { return putName(nil, id, namespace, table) }

func nameOf(t *Table) *name { return newName(t.id, t.Namespace(), t.Name()) }

// putName is newName in memory that is there already, if it is enough.
func putName(memory []uint64, id uint64, namespace, table string) *name {
	if namespace == Public {
		namespace = ""
	}
	if words := nameWords(len(namespace) + len(table)); cap(memory) < words {
		memory = make([]uint64, words)
	}
	n := (*name)(unsafe.Pointer(unsafe.SliceData(memory)))
	*n = name{id, uint32(len(namespace)), uint32(len(table))}
	text := n.text()
	copy(text[copy(text, namespace):], table)
	return n
}

// nameWords returns how many words hold a name with a text of so many bytes. Words, because memory
// of these is aligned as the head has to be.
func nameWords(text int) int {
	const word = unsafe.Sizeof(uint64(0))
	return int((nameHeadSize + uintptr(text) + word - 1) / word)
}

// text returns both parts.
func (n *name) text() []byte {
	if n.namespace+n.table == 0 {
		return nil // behind it there may be the end of the memory
	}
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(n), nameHeadSize)), n.namespace+n.table)
}

func (n *name) parts() (namespace, table string) {
	text := unsafe.String(unsafe.SliceData(n.text()), n.namespace+n.table)
	if n.namespace == 0 {
		return Public, text
	}
	return text[:n.namespace], text[n.namespace:]
}

// lessName orders names by namespace and table.
func lessName(a, b *name) bool {
	namespaceA, tableA := a.parts()
	namespaceB, tableB := b.parts()
	if namespaceA != namespaceB {
		return namespaceA < namespaceB
	}
	return tableA < tableB
}

// sought is memory for names to look for, used again so that looking one up allocates nothing.
// It is enough for those that are not uncommonly long.
var sought = sync.Pool{New: func() any { return new([32]uint64) }}

// find returns the name that equals this one.
func (m *Model) find(namespace, table string) (*name, bool) {
	memory := sought.Get().(*[32]uint64)
	n, ok := m.names.Get(putName(memory[:], 0, namespace, table))
	sought.Put(memory)
	return n, ok
}
