package raftlog

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// naive is a history of few sequences, each by itself.
type naive [64]bool

func (n *naive) set(s Span, to bool) {
	for seq := s.First; seq <= s.Last; seq++ {
		n[seq] = to
	}
}

func (n *naive) bounds() (first, last uint64) {
	for seq := uint64(1); seq < uint64(len(n)); seq++ {
		if n[seq] && first == 0 {
			first = seq
		}
		if n[seq] {
			last = seq
		}
	}
	return first, last
}

func (n *naive) gap(below uint64) (gap Span) {
	for seq := below - 1; seq > 0; seq-- {
		switch {
		case !n[seq] && gap.Last == 0:
			gap = Span{seq, seq}
		case !n[seq]:
			gap.First = seq
		case gap.Last != 0:
			return gap
		}
	}
	return gap
}

func TestHeldIsWhatWasAdded(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var n naive
		var h Held
		for step := range 20 {
			first := 1 + rng.Uint64N(60)
			s := Span{first, min(first+rng.Uint64N(6), 63)}
			if rng.IntN(8) > 0 {
				before := h
				holes := append([]Span(nil), h.Holes...)
				n.set(s, true)
				h = h.With(s)
				if len(holes) > 0 && !reflect.DeepEqual(before.Holes, holes) {
					t.Fatalf("seed %d: what was held before has changed", seed)
				}
			} else if s.Last < h.Last && n[s.Last+1] && s.Last >= h.First {
				n.set(s, false)
				h = h.Without(s)
			} else if n[first] {
				n.set(Span{1, first - 1}, false)
				h = h.From(first)
			}
			f, l := n.bounds()
			if h.First != f || h.Last != l {
				t.Fatalf("seed %d, step %d: held is %+v, of %d to %d", seed, step, h, f, l)
			}
			for seq := uint64(1); seq < uint64(len(n)); seq++ {
				if got, want := h.Gap(seq), n.gap(seq); got != want {
					t.Fatalf("seed %d, step %d: before %d %+v lacks %v, want %v", seed, step, seq, h, got, want)
				}
				if seq <= l && h.Lacks(seq) == n[seq] {
					t.Fatalf("seed %d, step %d: %+v lacks %d: %t", seed, step, h, seq, h.Lacks(seq))
				}
			}
		}
		if h = h.From(0); h.Last != 0 || h.Gap(9) != (Span{1, 8}) {
			t.Fatalf("with nothing left it holds %+v", h)
		}
	}
}

func TestHeldAtTheEndOfAll(t *testing.T) {
	h := Held{}.With(Span{1, 5}).With(Span{math.MaxUint64, math.MaxUint64})
	if got := h.Gap(math.MaxUint64); got != (Span{6, math.MaxUint64 - 1}) {
		t.Errorf("before the last sequence of all it lacks %v", got)
	}
	h = h.With(Span{6, math.MaxUint64 - 1})
	if got := h.Gap(math.MaxUint64); got != (Span{}) || h.Lacks(7) {
		t.Errorf("filled it lacks %v", got)
	}
}

func TestSpansStayApart(t *testing.T) {
	spans := JoinSpans(JoinSpans(JoinSpans(nil, Span{10, 12}), Span{20, 22}), Span{1, 1})
	if want := []Span{{1, 1}, {10, 12}, {20, 22}}; !reflect.DeepEqual(spans, want) {
		t.Fatalf("spans %v, want %v", spans, want)
	}
	for s, want := range map[Span][]Span{
		{13, 19}: {{1, 1}, {10, 22}}, {2, 9}: {{1, 12}, {20, 22}}, {14, 14}: {{1, 1}, {10, 12}, {14, 14}, {20, 22}}, {2, 30}: {{1, 30}},
	} {
		if got := JoinSpans(spans, s); !reflect.DeepEqual(got, want) {
			t.Errorf("with %v: %v, want %v", s, got, want)
		}
	}
	if got, want := WithoutSpan(spans, Span{11, 20}), []Span{{1, 1}, {10, 10}, {21, 22}}; !reflect.DeepEqual(got, want) {
		t.Errorf("without a part: %v, want %v", got, want)
	}
	if got, want := WithoutSpan([]Span{{1, 9}}, Span{4, 5}), []Span{{1, 3}, {6, 9}}; !reflect.DeepEqual(got, want) {
		t.Errorf("without the middle: %v, want %v", got, want)
	}
	for s, want := range map[Span]Span{
		{13, 19}: {10, 12}, {14, 19}: {14, 13}, {14, 20}: {20, 22}, {5, 6}: {5, 4}, {11, 12}: {10, 12}, {9, 30}: {10, 22}, {2, 3}: {1, 1},
	} {
		place, left := PlaceOf(spans, s)
		if place != want || slices.ContainsFunc(left, place.meets) || len(left) == 0 {
			t.Errorf("%v is filled into %v, want %v; left are %v", s, place, want, left)
		}
	}
	if SpanOf(spans, 21) != (Span{20, 22}) || SpanOf(spans, 13) != (Span{}) {
		t.Errorf("21 is in %v, 13 in %v", SpanOf(spans, 21), SpanOf(spans, 13))
	}
}
