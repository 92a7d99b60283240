package projections

import (
	"iter"
	"slices"

	"github.com/heliosdb/metadata/events"
)

// A queue's chunks are full at this length, or when their changes have that many bytes:
// what was taken out of a chunk stays in memory until all of it was.
const (
	chunk      = 64
	chunkBytes = 256 << 10
)

// queue is a first-in, first-out queue of changes with the rules of cow.Set: a
// value that its owner changes in place, and that is safe to assign to others
// once frozen. Its chunks are shared between copies.
type queue struct {
	full   [][]*events.Change // never written to; oldest first
	tail   []*events.Change   // the newest, fewer than chunk
	size   int                // bytes of the changes in tail, also those taken out
	gone   int                // how many of the first chunk were taken out
	length int
	mine   bool // tail and full may be appended to in place
}

func (q *queue) freeze() {
	if q.mine {
		q.mine = false
	}
}

func (q *queue) len() int { return q.length }

// push appends at the end.
func (q *queue) push(c *events.Change) {
	if !q.mine {
		q.full = slices.Clip(q.full)
		q.tail = append(make([]*events.Change, 0, chunk), q.tail...)
		q.mine = true
	}
	q.tail = append(q.tail, c)
	q.size += len(c.Raw())
	q.length++
	if len(q.tail) == chunk || q.size >= chunkBytes {
		q.full = append(q.full, q.tail)
		q.tail, q.size = make([]*events.Change, 0, chunk), 0
	}
}

// pop takes out the oldest. The queue must not be empty.
func (q *queue) pop() *events.Change {
	first := q.tail
	if len(q.full) > 0 {
		first = q.full[0]
	}
	oldest := first[q.gone]
	q.gone++
	q.length--
	if q.gone == len(first) {
		q.gone = 0
		if len(q.full) > 0 {
			q.full = q.full[1:]
		} else {
			q.tail, q.size, q.mine = nil, 0, false
		}
	}
	return oldest
}

// last returns the newest; nil if there is none.
func (q *queue) last() *events.Change {
	switch {
	case len(q.tail) > 0:
		return q.tail[len(q.tail)-1]
	case len(q.full) > 0:
		newest := q.full[len(q.full)-1]
		return newest[len(newest)-1]
	}
	return nil
}

// all yields the changes, oldest first.
func (q *queue) all() iter.Seq[*events.Change] {
	return func(yield func(*events.Change) bool) {
		skip := q.gone
		for _, part := range append(slices.Clip(q.full), q.tail) {
			for _, c := range part[skip:] {
				if !yield(c) {
					return
				}
			}
			skip = 0
		}
	}
}
