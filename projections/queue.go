package projections

import (
	"iter"
	"slices"
)

// chunk is the length of a queue's full chunks.
const chunk = 64

// queue is a first-in, first-out queue of requests with the rules of cow.Set: a
// value that its owner changes in place, and that is safe to assign to others
// once frozen. Its chunks are shared between copies.
type queue struct {
	full   [][]request // never written to; oldest first
	tail   []request   // the newest, fewer than chunk
	gone   int         // how many of the first chunk were taken out
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
func (q *queue) push(r request) {
	if !q.mine {
		q.full = slices.Clip(q.full)
		q.tail = append(make([]request, 0, chunk), q.tail...)
		q.mine = true
	}
	q.tail = append(q.tail, r)
	q.length++
	if len(q.tail) == chunk {
		q.full = append(q.full, q.tail)
		q.tail = make([]request, 0, chunk)
	}
}

// pop takes out the oldest. The queue must not be empty.
func (q *queue) pop() request {
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
			q.tail, q.mine = nil, false
		}
	}
	return oldest
}

// last returns the newest; the zero request if there is none.
func (q *queue) last() request {
	switch {
	case len(q.tail) > 0:
		return q.tail[len(q.tail)-1]
	case len(q.full) > 0:
		return q.full[len(q.full)-1][chunk-1]
	}
	return request{}
}

// all yields the requests, oldest first.
func (q *queue) all() iter.Seq[request] {
	return func(yield func(request) bool) {
		skip := q.gone
		for _, part := range append(slices.Clip(q.full), q.tail) {
			for _, r := range part[skip:] {
				if !yield(r) {
					return
				}
			}
			skip = 0
		}
	}
}
