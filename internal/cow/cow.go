// Package cow offers ordered sets that are copied in constant time.
//
// A [Set] is a value. Its owner changes it in place; [Set.Freeze] makes it safe
// to assign to others, and the first change to any copy afterwards goes to fresh
// nodes, so that the others never see it. Frozen sets are safe for concurrent
// use, also as the source of copies. A set that is not frozen belongs to one
// goroutine.
//
// The package wraps tidwall's B-tree to keep two of its traps away: its Copy
// writes to its source, and a tree that was copied by assignment is changed
// under its readers.
package cow

import (
	"iter"
	"sync"

	"github.com/tidwall/btree"
)

// degree decides the size of nodes: up to 63 items. Of the sizes measured it
// makes single changes to a fresh copy of a large set cheapest.
const degree = 32

// Set is an ordered set of items. Make it with [New].
type Set[T any] struct {
	tree *btree.BTreeG[T]
	copy *sync.Mutex // guards copying: shared by all descendants
	mine bool        // tree may be changed in place
}

// New returns an empty set in the order of less. Items that are equal in that
// order are the same item.
func New[T any](less func(a, b T) bool) Set[T] {
	return Set[T]{
		tree: btree.NewBTreeGOptions(less, btree.Options{Degree: degree, NoLocks: true}),
		copy: new(sync.Mutex),
		mine: true,
	}
}

// Freeze makes the set safe to copy by assignment. It only reads a set that is
// frozen already.
func (s *Set[T]) Freeze() {
	if s.mine {
		s.mine = false
	}
}

func (s *Set[T]) own() {
	if s.mine {
		return
	}
	s.copy.Lock()
	s.tree = s.tree.Copy()
	s.copy.Unlock()
	s.mine = true
}

// Put inserts an item or replaces the one equal to it, which it returns.
func (s *Set[T]) Put(item T) (previous T, replaced bool) {
	s.own()
	return s.tree.Set(item)
}

// Append is Put for an item that mostly is greater than all in the set: then it is
// not searched for.
func (s *Set[T]) Append(item T) (previous T, replaced bool) {
	s.own()
	return s.tree.Load(item)
}

// Delete removes the item equal to key and returns it.
func (s *Set[T]) Delete(key T) (previous T, deleted bool) {
	s.own()
	return s.tree.Delete(key)
}

// Get returns the item equal to key.
func (s Set[T]) Get(key T) (T, bool) { return s.tree.Get(key) }

// Len returns the number of items.
func (s Set[T]) Len() int { return s.tree.Len() }

// Min returns the first item.
func (s Set[T]) Min() (T, bool) { return s.tree.Min() }

// Max returns the last item.
func (s Set[T]) Max() (T, bool) { return s.tree.Max() }

// All yields all items in order. The set must not change meanwhile.
func (s Set[T]) All() iter.Seq[T] {
	return func(yield func(T) bool) { s.tree.Scan(yield) }
}

// From yields the items that are not less than pivot, in order. The set must not
// change meanwhile.
func (s Set[T]) From(pivot T) iter.Seq[T] {
	return func(yield func(T) bool) { s.tree.Ascend(pivot, yield) }
}

// Back yields the items that are not greater than pivot, last first. The set
// must not change meanwhile.
func (s Set[T]) Back(pivot T) iter.Seq[T] {
	return func(yield func(T) bool) { s.tree.Descend(pivot, yield) }
}
