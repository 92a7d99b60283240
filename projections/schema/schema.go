// Package schema is the read model of the schema stream: which namespaces and
// tables exist.
//
// A [Model] is an immutable value: any number of goroutines read it while its
// successors are made, and anybody may fold from it. A [Draft] is a private copy
// that changes in place; it belongs to one goroutine. Both fold with the one
// function [Draft.Apply]. Records hold an object's own encoding, as it was
// logged; it is never encoded again.
//
// Folding is total: an event that cannot be applied panics with a fold error
// (projections.FoldError), because nothing validates a logged event again. The
// package does not judge whether a change makes sense; commands do.
package schema

import (
	"cmp"
	"iter"
	"math"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/cow"
	"github.com/heliosdb/metadata/internal/idset"
	"github.com/heliosdb/metadata/projections/internal/fold"
)

// The namespace that always exists, and that an empty name means.
const (
	Public   = "public"
	PublicID = 1
)

// Model is the schema at one revision.
type Model struct {
	namespaces     cow.Set[namespaceItem]
	namespacesByID cow.Set[namespaceIDItem]
	tables         cow.Set[tableItem]
	names          cow.Set[*name]
	usedNamespaces idset.Set
	usedTables     idset.Set
	tableBytes     int // encoded size of the tables
}

type namespaceItem struct {
	name      string
	namespace *Namespace
	tables    int // number of tables in it
}

type namespaceIDItem struct {
	id        uint64
	namespace *Namespace
}

type tableItem struct {
	id    uint64
	table *Table
}

// empty returns a model without even the namespace "public", not yet frozen.
func empty() Model {
	return Model{
		namespaces:     cow.New(func(a, b namespaceItem) bool { return a.name < b.name }),
		namespacesByID: cow.New(func(a, b namespaceIDItem) bool { return a.id < b.id }),
		tables:         cow.New(func(a, b tableItem) bool { return a.id < b.id }),
		names:          cow.New(lessName),
		usedNamespaces: idset.New(),
		usedTables:     idset.New(),
	}
}

// New returns the schema at revision 0: the namespace "public" and no tables.
func New() *Model {
	d := &Draft{empty()}
	d.addNamespace(public)
	return d.Freeze()
}

// Fold returns the model after some changes, given in order. The maps are copied
// once, whatever the number of changes.
func (m *Model) Fold(changes ...*events.Change) *Model {
	d := m.Draft()
	for _, c := range changes {
		for _, e := range c.Events() {
			d.Apply(e, c.Revision())
		}
	}
	d.freeze()
	return &d.Model
}

// Draft returns a private copy to apply events to. It costs next to nothing.
func (m *Model) Draft() *Draft {
	m.freeze() // m may be the view of a live draft
	return &Draft{*m}
}

// Begin is Draft for those who do not know the domain.
func (m *Model) Begin() fold.Draft[*Model] { return m.Draft() }

func (m *Model) freeze() {
	m.namespaces.Freeze()
	m.namespacesByID.Freeze()
	m.tables.Freeze()
	m.names.Freeze()
	m.usedNamespaces.Freeze()
	m.usedTables.Freeze()
}

// Namespace returns a namespace by name; the empty name means "public".
func (m *Model) Namespace(name string) (*Namespace, bool) {
	item, ok := m.namespaces.Get(namespaceItem{name: cmp.Or(name, Public)})
	return item.namespace, ok
}

// NamespaceByID returns a namespace by id.
func (m *Model) NamespaceByID(id uint64) (*Namespace, bool) {
	item, ok := m.namespacesByID.Get(namespaceIDItem{id: id})
	return item.namespace, ok
}

// Namespaces yields the namespaces whose names are not less than from, by name.
func (m *Model) Namespaces(from string) iter.Seq[*Namespace] {
	return func(yield func(*Namespace) bool) {
		for item := range m.namespaces.From(namespaceItem{name: from}) {
			if !yield(item.namespace) {
				return
			}
		}
	}
}

// NamespacesByID yields the namespaces whose ids are not less than from, by id.
func (m *Model) NamespacesByID(from uint64) iter.Seq[*Namespace] {
	return func(yield func(*Namespace) bool) {
		for item := range m.namespacesByID.From(namespaceIDItem{id: from}) {
			if !yield(item.namespace) {
				return
			}
		}
	}
}

// NamespaceCount returns the number of namespaces.
func (m *Model) NamespaceCount() int { return m.namespaces.Len() }

// TablesIn returns the number of tables in a namespace; the empty name means
// "public".
func (m *Model) TablesIn(namespace string) int {
	item, _ := m.namespaces.Get(namespaceItem{name: cmp.Or(namespace, Public)})
	return item.tables
}

// Table returns a table by id.
func (m *Model) Table(id uint64) (*Table, bool) {
	item, ok := m.tables.Get(tableItem{id: id})
	return item.table, ok
}

// TableByName returns a table by namespace and name; the empty namespace means
// "public".
func (m *Model) TableByName(namespace, name string) (*Table, bool) {
	n, ok := m.find(namespace, name)
	if !ok {
		return nil, false
	}
	return m.Table(n.id)
}

// TablesByName yields the tables from (namespace, name) on, by namespace and
// name. Here the empty namespace is the beginning, not "public".
func (m *Model) TablesByName(namespace, name string) iter.Seq[*Table] {
	names := m.names.All()
	if namespace != "" {
		names = m.names.From(newName(0, namespace, name))
	}
	return func(yield func(*Table) bool) {
		for n := range names {
			if t, _ := m.Table(n.id); !yield(t) {
				return
			}
		}
	}
}

// TablesByID yields the tables whose ids are not less than from, by id.
func (m *Model) TablesByID(from uint64) iter.Seq[*Table] {
	return func(yield func(*Table) bool) {
		for item := range m.tables.From(tableItem{id: from}) {
			if !yield(item.table) {
				return
			}
		}
	}
}

// Size returns about how many bytes a checkpoint of the model has. It is the same for
// equal models.
func (m *Model) Size() int { return m.tableBytes }

// TableCount returns the number of tables.
func (m *Model) TableCount() int { return m.tables.Len() }

// UsedTableID reports whether a table ever had this id.
func (m *Model) UsedTableID(id uint64) bool { return m.usedTables.Contains(id) }

// FreeTableID returns the smallest id above 0 that no table ever had.
func (m *Model) FreeTableID() uint64 { return free(m.usedTables) }

// UsedNamespaceID reports whether a namespace ever had this id.
func (m *Model) UsedNamespaceID(id uint64) bool { return m.usedNamespaces.Contains(id) }

// FreeNamespaceID returns the smallest id above 0 that no namespace ever had.
func (m *Model) FreeNamespaceID() uint64 { return free(m.usedNamespaces) }

func free(used idset.Set) uint64 {
	id, ok := used.FirstFree(1)
	if !ok {
		return math.MaxUint64 // 2^64 objects do not happen
	}
	return id
}
