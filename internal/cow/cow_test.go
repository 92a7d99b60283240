package cow

import (
	"cmp"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

type pair struct{ key, value int }

func newPairs() Set[pair] {
	return New(func(a, b pair) bool { return cmp.Less(a.key, b.key) })
}

// Copies of a set never see what happens to each other: checked against plain
// maps, with copies of copies.
func TestCopiesAreApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sets := []Set[pair]{newPairs()}
		plain := []map[int]int{{}}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			i := rapid.IntRange(0, len(sets)-1).Draw(t, "set")
			key := rapid.IntRange(0, 200).Draw(t, "key")
			switch rapid.IntRange(0, 9).Draw(t, "action") {
			case 0:
				sets[i].Freeze()
				sets = append(sets, sets[i])
				plain = append(plain, cloneMap(plain[i]))
			case 1, 2, 3:
				previous, deleted := sets[i].Delete(pair{key: key})
				value, had := plain[i][key]
				if deleted != had || previous.value != value {
					t.Fatalf("deleting %d: %v, %v; want %d, %v", key, previous, deleted, value, had)
				}
				delete(plain[i], key)
			default:
				value := rapid.Int().Draw(t, "value")
				put := sets[i].Put
				if rapid.Bool().Draw(t, "append") {
					put = sets[i].Append
				}
				previous, replaced := put(pair{key, value})
				if was, had := plain[i][key]; replaced != had || previous.value != was {
					t.Fatalf("putting %d: %v, %v; want %d, %v", key, previous, replaced, was, had)
				}
				plain[i][key] = value
			}
		}
		for i := range sets {
			compare(t, sets[i], plain[i])
		}
	})
}

func cloneMap(m map[int]int) map[int]int {
	c := make(map[int]int, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

func compare(t *rapid.T, s Set[pair], plain map[int]int) {
	want := make([]pair, 0, len(plain))
	for k, v := range plain {
		want = append(want, pair{k, v})
	}
	slices.SortFunc(want, func(a, b pair) int { return cmp.Compare(a.key, b.key) })
	if got := slices.Collect(s.All()); !slices.Equal(got, want) || s.Len() != len(want) {
		t.Fatalf("all: %v, want %v", got, want)
	}
	at := rapid.IntRange(-1, 201).Draw(t, "pivot")
	split, _ := slices.BinarySearchFunc(want, at, func(p pair, k int) int { return cmp.Compare(p.key, k) })
	if got := slices.Collect(s.From(pair{key: at})); !slices.Equal(got, want[split:]) {
		t.Fatalf("from %d: %v, want %v", at, got, want[split:])
	}
	if split < len(want) && want[split].key == at {
		split++
	}
	back := slices.Clone(want[:split])
	slices.Reverse(back)
	if got := slices.Collect(s.Back(pair{key: at})); !slices.Equal(got, back) {
		t.Fatalf("back from %d: %v, want %v", at, got, back)
	}
	first, ok := s.Min()
	last, _ := s.Max()
	if ok != (len(want) > 0) || ok && (first != want[0] || last != want[len(want)-1]) {
		t.Fatalf("min %v, max %v of %v", first, last, want)
	}
}

// A frozen set may be read and copied by many goroutines at once (run it with
// -race).
func TestFrozenSetsAreShared(t *testing.T) {
	s := newPairs()
	for i := range 1000 {
		s.Put(pair{i, i})
	}
	s.Freeze()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 100 {
				mine := s
				mine.Put(pair{i, -g})
				mine.Delete(pair{key: 999 - i})
				if got, _ := mine.Get(pair{key: i}); got.value != -g {
					t.Errorf("own copy has %v", got)
				}
				if got, _ := s.Get(pair{key: i}); got.value != i || s.Len() != 1000 {
					t.Errorf("the shared set changed: %v", got)
				}
			}
		})
	}
	wg.Wait()
}
