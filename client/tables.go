package client

import (
	"cmp"
	"hash/maphash"
	"math/bits"
	"slices"
	"sync/atomic"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections/schema"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// tables finds tables by name: a hash trie beside the model's ordered map, for which a
// look-up compares some fifteen names, and a place for each decoded table besides. It is
// immutable but for those places; with and without share all that they have in common. The
// zero value is empty. Reading is safe for concurrent use and takes no locks.
type tables struct{ root *branch }

// branch is a node of the trie: those of its 32 children that exist, in order. The child
// of a table is told by the next five bits of its name's hash.
type branch struct {
	there    uint32
	children []child
	owner    *edit
}

// child is a branch, or else the tables of one hash.
type child struct {
	branch *branch
	table  *table
}

// table is a table of the trie. Its names are here besides, because they are compared
// with each look-up.
type table struct {
	hash            uint64
	namespace, name string
	record          *schema.Table                          // nil: the message is there
	message         atomic.Pointer[metadatav1.TableSchema] // nil: nobody has asked
	same            *table                                 // another one of the same hash; nil: none
}

// edit names a series of changes, which may change in place what it has made.
type edit struct{ _ byte }

const (
	trieBits = 5
	trieMask = 1<<trieBits - 1
)

var seed = maphash.MakeSeed()

// hashOf mixes both names, so that the tables of one name in many namespaces lie apart.
func hashOf(namespace, name string) uint64 {
	return bits.RotateLeft64(maphash.String(seed, namespace), 32)*0x9e3779b97f4a7c15 ^ maphash.String(seed, name)
}

// find returns a table by name; nil if there is none. The empty namespace is "public".
func (t tables) find(namespace, name string) *table {
	namespace = cmp.Or(namespace, schema.Public)
	hash := hashOf(namespace, name)
	rest := hash
	for b := t.root; b != nil; rest >>= trieBits {
		bit := uint32(1) << (rest & trieMask)
		if b.there&bit == 0 {
			return nil
		}
		c := &b.children[bits.OnesCount32(b.there&(bit-1))]
		for one := c.table; one != nil; one = one.same {
			if one.hash == hash && one.name == name && one.namespace == namespace {
				return one
			}
		}
		b = c.branch
	}
	return nil
}

// decoded returns the table's message, which all readers share.
func (t *table) decoded() *metadatav1.TableSchema {
	if m := t.message.Load(); m != nil {
		return m
	}
	t.message.CompareAndSwap(nil, t.record.Message())
	return t.message.Load()
}

func newTable(record *schema.Table) *table {
	namespace, name := record.Namespace(), record.Name()
	return &table{hash: hashOf(namespace, name), namespace: namespace, name: name, record: record}
}

// with returns the trie with a table, in place of one of the same name.
func (t tables) with(e *edit, record *schema.Table) tables { return t.withTable(e, newTable(record)) }

func (t tables) withTable(e *edit, one *table) tables {
	root := t.root
	if root == nil {
		root = &branch{owner: e}
	}
	return tables{root.with(e, one, 0)}
}

// without returns the trie without a name.
func (t tables) without(e *edit, namespace, name string) tables {
	namespace = cmp.Or(namespace, schema.Public)
	return tables{t.root.without(e, &table{hash: hashOf(namespace, name), namespace: namespace, name: name}, 0)}
}

// own returns the branch, or a copy of it, to be changed in place by e.
func (b *branch) own(e *edit) *branch {
	if b.owner == e {
		return b
	}
	return &branch{there: b.there, children: slices.Clone(b.children), owner: e}
}

// place returns the bit and the index of the child on the way to a hash.
func (b *branch) place(hash uint64, depth int) (bit uint32, at int) {
	bit = 1 << (hash >> (depth * trieBits) & trieMask)
	return bit, bits.OnesCount32(b.there & (bit - 1))
}

func (b *branch) with(e *edit, t *table, depth int) *branch {
	b = b.own(e)
	bit, at := b.place(t.hash, depth)
	if b.there&bit == 0 {
		b.there |= bit
		b.children = slices.Insert(b.children, at, child{table: t})
		return b
	}
	switch c := &b.children[at]; {
	case c.branch != nil:
		c.branch = c.branch.with(e, t, depth+1)
	case c.table.hash == t.hash:
		t.same = c.table.but(t)
		c.table = t
	default:
		c.branch = (&branch{owner: e}).with(e, c.table, depth+1).with(e, t, depth+1)
		c.table = nil
	}
	return b
}

// without returns nil if nothing is left, and b itself if there is no such table.
func (b *branch) without(e *edit, t *table, depth int) *branch {
	if b == nil {
		return nil
	}
	bit, at := b.place(t.hash, depth)
	if b.there&bit == 0 {
		return b
	}
	was := b.children[at]
	left := was
	if was.branch != nil {
		left.branch = was.branch.without(e, t, depth+1)
	} else if was.table.hash == t.hash {
		left.table = was.table.but(t)
	}
	if left == was {
		return b
	}
	b = b.own(e)
	if left != (child{}) {
		b.children[at] = left
		return b
	}
	b.there &^= bit
	if b.there == 0 {
		return nil
	}
	b.children = slices.Delete(b.children, at, at+1)
	return b
}

// but returns the tables of one hash without the one that has the names of t: themselves
// if it is not among them.
func (t *table) but(gone *table) *table {
	if t == nil {
		return nil
	}
	if t.name == gone.name && t.namespace == gone.namespace {
		return t.same
	}
	rest := t.same.but(gone)
	if rest == t.same {
		return t
	}
	one := &table{hash: t.hash, namespace: t.namespace, name: t.name, record: t.record, same: rest}
	one.message.Store(t.message.Load())
	return one
}

// tablesOf returns the trie of a model.
func tablesOf(m *schema.Model) tables {
	var t tables
	e := new(edit)
	for record := range m.TablesByID(0) {
		t = t.with(e, record)
	}
	return t
}

// after returns the trie of a model that follows from the trie's by some changes.
func (t tables) after(changes []*events.Change, m *schema.Model) tables {
	e := new(edit)
	for _, c := range changes {
		for _, event := range c.Events() {
			for _, s := range events.Subjects(event.Message()) {
				if s.Kind != metadatav1.ObjectKind_OBJECT_KIND_TABLE {
					continue
				}
				if record, ok := m.TableByName(s.Namespace, s.Name); ok {
					t = t.with(e, record)
				} else {
					t = t.without(e, s.Namespace, s.Name)
				}
			}
		}
	}
	return t
}
