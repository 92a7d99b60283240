package idset

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A set of ids is compared with a plain one, and so is a copy from the middle.
func TestAgainstAPlainSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, plain := New(), map[uint64]bool{}
		var half Set
		halfPlain := -1
		for i := range rapid.IntRange(0, 80).Draw(t, "steps") {
			first := rapid.Uint64Range(0, 120).Draw(t, "first")
			last := first + rapid.SampledFrom([]uint64{0, 0, 0, 1, 5, 30}).Draw(t, "length")
			s.AddRange(Range{first, last})
			for id := first; id <= last; id++ {
				plain[id] = true
			}
			if i == 20 {
				s.Freeze()
				half, halfPlain = s, len(plain)
			}
		}
		check(t, s, plain)
		if halfPlain >= 0 && size(half) != halfPlain {
			t.Fatalf("the copy has %d ids now, had %d", size(half), halfPlain)
		}
	})
}

func size(s Set) (n int) {
	for r := range s.Ranges() {
		n += int(r.Last - r.First + 1)
	}
	return n
}

func check(t *rapid.T, s Set, plain map[uint64]bool) {
	var highest uint64
	for id := range uint64(160) {
		if s.Contains(id) != plain[id] {
			t.Fatalf("contains %d: %v", id, s.Contains(id))
		}
		if plain[id] {
			highest = id
		}
		want := id
		for plain[want] {
			want++
		}
		if got, ok := s.FirstFree(id); !ok || got != want {
			t.Fatalf("first free from %d: %d, want %d", id, got, want)
		}
	}
	if s.Max() != highest {
		t.Fatalf("max %d, want %d", s.Max(), highest)
	}
	ranges := slices.Collect(s.Ranges())
	for i, r := range ranges {
		if r.First > r.Last || i > 0 && r.First <= ranges[i-1].Last+1 {
			t.Fatalf("ranges touch or run backwards: %v", ranges)
		}
	}
	if size(s) != len(plain) || s.Len() != len(ranges) {
		t.Fatalf("%d ids in %v, want %d", size(s), ranges, len(plain))
	}
}

func TestLimits(t *testing.T) {
	s := New()
	if id, ok := s.FirstFree(1); id != 1 || !ok {
		t.Errorf("first free of nothing: %d, %v", id, ok)
	}
	s.Add(math.MaxUint64)
	s.AddRange(Range{5, 3})
	if s.Len() != 1 || !s.Contains(math.MaxUint64) || s.Contains(4) {
		t.Errorf("ranges %v", slices.Collect(s.Ranges()))
	}
	s.AddRange(Range{10, math.MaxUint64 - 1})
	if s.Len() != 1 {
		t.Errorf("ranges %v, want one", slices.Collect(s.Ranges()))
	}
	if _, ok := s.FirstFree(10); ok {
		t.Error("nothing above 10 is free")
	}
	s.AddRange(Range{0, math.MaxUint64})
	s.Add(math.MaxUint64)
	if got := slices.Collect(s.Ranges()); len(got) != 1 || got[0] != (Range{0, math.MaxUint64}) {
		t.Errorf("ranges %v, want everything", got)
	}
}
