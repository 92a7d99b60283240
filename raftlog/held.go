package raftlog

import (
	"cmp"
	"slices"
)

// Span is a run of sequences, both ends included.
type Span struct{ First, Last uint64 }

// JoinSpans adds a run to others, which are ascending and apart, and stay so. It does not
// change what it is given.
func JoinSpans(spans []Span, s Span) []Span {
	var joined []Span
	for _, o := range spans {
		if o.Last < s.First && s.First-o.Last > 1 || o.First > s.Last && o.First-s.Last > 1 {
			joined = append(joined, o)
		} else {
			s = Span{min(s.First, o.First), max(s.Last, o.Last)}
		}
	}
	at, _ := slices.BinarySearchFunc(joined, s, func(a, b Span) int { return cmp.Compare(a.First, b.First) })
	return slices.Insert(joined, at, s)
}

// WithoutSpan takes a run out of others. It does not change what it is given.
func WithoutSpan(spans []Span, s Span) []Span {
	if !slices.ContainsFunc(spans, s.meets) {
		return spans
	}
	var left []Span
	for _, o := range spans {
		if !s.meets(o) {
			left = append(left, o)
			continue
		}
		if o.First < s.First {
			left = append(left, Span{o.First, s.First - 1})
		}
		if o.Last > s.Last {
			left = append(left, Span{s.Last + 1, o.Last})
		}
	}
	return left
}

// SpanOf returns the run that has a sequence; a zero one if none has.
func SpanOf(spans []Span, seq uint64) Span {
	for _, s := range spans {
		if s.First <= seq && seq <= s.Last {
			return s
		}
	}
	return Span{}
}

// PlaceOf returns where records of a run are filled in: the damaged runs that it meets or that end
// right before it, all of which goes, from the first to the last. Without any it is empty, and ends
// before the run. left are the other ones.
func PlaceOf(damaged []Span, filled Span) (place Span, left []Span) {
	place = Span{filled.First, filled.First - 1}
	for _, d := range damaged {
		switch {
		case d.First > filled.Last || d.Last < filled.First-1:
			left = append(left, d)
		case place.Empty():
			place = d
		default:
			place.Last = d.Last
		}
	}
	return place, left
}

// Empty reports whether a run has no sequence.
func (s Span) Empty() bool { return s.First > s.Last }

func (s Span) meets(o Span) bool { return o.First <= s.Last && s.First <= o.Last }

// Held says which sequences a history has: all from First to Last but those of the holes,
// which are ascending and apart. A zero one has none. It is a value: what it points to is
// never changed.
type Held struct {
	First, Last uint64
	Holes       []Span
}

// With returns what is held once a record was added or replaced.
func (h Held) With(s Span) Held {
	switch {
	case h.Last == 0:
		return Held{First: s.First, Last: s.Last}
	case s.First > h.Last && s.First-h.Last > 1:
		h.Holes = JoinSpans(h.Holes, Span{h.Last + 1, s.First - 1})
	case h.First > s.Last && h.First-s.Last > 1:
		h.Holes = JoinSpans(h.Holes, Span{s.Last + 1, h.First - 1})
	default:
		h.Holes = WithoutSpan(h.Holes, s)
	}
	h.First, h.Last = min(h.First, s.First), max(h.Last, s.Last)
	return h
}

// From returns what is held once all before a sequence, with which a record begins, was
// trimmed; 0: everything was.
func (h Held) From(first uint64) Held {
	if first == 0 {
		return Held{}
	}
	if first > 1 {
		h.Holes = WithoutSpan(h.Holes, Span{1, first - 1})
	}
	h.First = first
	return h
}

// Without returns what is held once a run was lost, behind which something is left.
func (h Held) Without(s Span) Held {
	if s.First <= h.First {
		return h.From(s.Last + 1)
	}
	h.Holes = JoinSpans(h.Holes, s)
	return h
}

// Gap returns the newest run before a sequence that is not held; a zero one if all from 1 on
// is.
func (h Held) Gap(below uint64) Span {
	switch {
	case below <= 1:
		return Span{}
	case h.Last == 0 || below-1 > h.Last:
		return Span{h.Last + 1, below - 1}
	}
	for _, hole := range slices.Backward(h.Holes) {
		if hole.First < below {
			return Span{hole.First, min(hole.Last, below-1)}
		}
	}
	if h.First > 1 {
		return Span{1, min(h.First, below) - 1}
	}
	return Span{}
}

// Lacks reports whether a sequence up to the last one is not held.
func (h Held) Lacks(seq uint64) bool { return seq < h.First || SpanOf(h.Holes, seq) != Span{} }
