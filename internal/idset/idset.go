// Package idset keeps sets of ids that are given once and never taken back.
//
// A [Set] holds its ids as ascending ranges that do not touch, so that a
// sequence costs the same whatever its length. It is a value with the rules of
// [cow.Set]: changed in place by its owner, copied in constant time once frozen.
package idset

import (
	"iter"
	"math"

	"github.com/heliosdb/metadata/internal/cow"
)

// Range is an inclusive range of ids.
type Range struct{ First, Last uint64 }

// Set is a set of ids. Make it with [New].
type Set struct{ ranges cow.Set[Range] }

// New returns an empty set.
func New() Set {
	return Set{cow.New(func(a, b Range) bool { return a.First < b.First })}
}

// Freeze makes the set safe to copy by assignment. It only reads a set that is
// frozen already.
func (s *Set) Freeze() { s.ranges.Freeze() }

// below returns the range that holds id or lies nearest below it.
func (s Set) below(id uint64) (Range, bool) {
	for r := range s.ranges.Back(Range{First: id}) {
		return r, true
	}
	return Range{}, false
}

// Contains reports whether id was added.
func (s Set) Contains(id uint64) bool {
	r, ok := s.below(id)
	return ok && id <= r.Last
}

// Add adds one id; adding it again changes nothing.
func (s *Set) Add(id uint64) { s.AddRange(Range{id, id}) }

// AddRange adds all ids of a range. It ignores a range that ends before it
// begins.
func (s *Set) AddRange(r Range) {
	if r.First > r.Last {
		return
	}
	behind := r.First
	if b, ok := s.below(r.First); ok && (b.Last == math.MaxUint64 || b.Last+1 >= r.First) {
		if r.Last <= b.Last {
			return
		}
		r.First, behind = b.First, b.Last+1 // b is replaced: deleting it first costs two nodes
	}
	for {
		next, ok := s.from(behind)
		if !ok || r.Last != math.MaxUint64 && next.First > r.Last+1 {
			break
		}
		r.Last = max(r.Last, next.Last)
		s.ranges.Delete(next)
	}
	s.ranges.Put(r)
}

func (s Set) from(id uint64) (Range, bool) {
	for r := range s.ranges.From(Range{First: id}) {
		return r, true
	}
	return Range{}, false
}

// FirstFree returns the smallest id that is not in the set and not below from;
// false if there is none.
func (s Set) FirstFree(from uint64) (uint64, bool) {
	r, ok := s.below(from)
	if !ok || r.Last < from {
		return from, true
	}
	if r.Last == math.MaxUint64 {
		return 0, false
	}
	return r.Last + 1, true
}

// Max returns the largest id; 0 if the set is empty.
func (s Set) Max() uint64 {
	r, _ := s.ranges.Max()
	return r.Last
}

// Ranges yields the ranges, ascending.
func (s Set) Ranges() iter.Seq[Range] { return s.ranges.All() }

// Len returns the number of ranges.
func (s Set) Len() int { return s.ranges.Len() }
