package projections

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/heliosdb/metadata/events"
	"pgregory.net/rapid"
)

// Copies of a queue never see what happens to each other: checked against plain
// slices, with copies of copies.
func TestQueueAgainstSlices(t *testing.T) {
	shard := shardCreated(1, strings.Repeat("x", chunkBytes/8), "")
	large := []events.Event{events.New(shard), events.New(shard)}
	rapid.Check(t, func(t *rapid.T) {
		queues, plain := []queue{{}}, [][]*events.Change{nil}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			i := rapid.IntRange(0, len(queues)-1).Draw(t, "queue")
			n := rapid.IntRange(1, 3*chunk).Draw(t, "times")
			switch rapid.IntRange(0, 4).Draw(t, "action") {
			case 0:
				queues[i].freeze()
				queues = append(queues, queues[i])
				plain = append(plain, slices.Clone(plain[i]))
			case 1, 2:
				for range min(n, len(plain[i])) {
					if got := queues[i].pop(); got != plain[i][0] {
						t.Fatalf("popped %v, want %v", got, plain[i][0])
					}
					plain[i] = plain[i][1:]
				}
			default:
				for range n {
					c := events.Seal(events.Header{Revision: 1}, large[:rapid.IntRange(1, 2).Draw(t, "events")])
					queues[i].push(c)
					plain[i] = append(plain[i], c)
				}
			}
		}
		for i := range queues {
			if got := slices.Collect(queues[i].all()); !slices.Equal(got, plain[i]) || queues[i].len() != len(plain[i]) {
				t.Fatalf("queue %d holds %v, want %v", i, got, plain[i])
			}
			var want *events.Change
			if n := len(plain[i]); n > 0 {
				want = plain[i][n-1]
			}
			if queues[i].last() != want {
				t.Fatalf("last of queue %d is %v, want %v", i, queues[i].last(), want)
			}
		}
	})
}

// What was taken out is let go of, however large it is and few there are.
func TestAQueueLetsGoOfLargeChanges(t *testing.T) {
	s := NewTopology(cluster, 1)
	const size = 1 << 20
	for i := range uint64(3 * MaxRequestBytes / size) {
		s = s.Fold(nodeChange(i+1, fmt.Sprint("r", i+1), size))
	}
	held := 0
	for _, part := range append(slices.Clip(s.Requests.order.full), s.Requests.order.tail) {
		for _, c := range part {
			held += len(c.Raw())
		}
	}
	if held > MaxRequestBytes+2*size {
		t.Errorf("a window of %d bytes holds on to %d", s.Requests.Bytes(), held)
	}
}
