package past

import "iter"

// Merge yields what sequences yield, each of which comes newest first, newest first; of what
// is equally new, that of the first sequence first. An error is the last thing that it
// yields.
func Merge[V any](newer func(a, b V) bool, all []iter.Seq2[V, error]) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		type head struct {
			value V
			next  func() (V, error, bool)
		}
		var heads []*head
		for _, sequence := range all {
			next, stop := iter.Pull2(sequence)
			defer stop()
			heads = append(heads, &head{next: next})
		}
		// take moves a head on; false if it has nothing more.
		take := func(h *head) (more bool, err error) {
			h.value, err, more = h.next()
			return more, err
		}
		left := heads[:0]
		for _, h := range heads {
			more, err := take(h)
			if err != nil {
				yield(h.value, err)
				return
			}
			if more {
				left = append(left, h)
			}
		}
		for len(left) > 0 {
			first := 0
			for i := range left {
				if newer(left[i].value, left[first].value) {
					first = i
				}
			}
			if !yield(left[first].value, nil) {
				return
			}
			more, err := take(left[first])
			if err != nil {
				yield(left[first].value, err)
				return
			}
			if !more {
				left = append(left[:first], left[first+1:]...)
			}
		}
	}
}
