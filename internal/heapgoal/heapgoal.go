// Package heapgoal decides how far the heap grows between two garbage collections.
//
// Go lets it double, whatever its size. A member's heap is a model that hardly
// changes: of a small one that is too little (a leader collects many times a second),
// of a large one too much (half of the memory is garbage). Here the heap grows by
// [Headroom], or by [LeastPercent] of what is live if that is more.
package heapgoal

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Measured with creates by 64 clients: at 64 MiB a leader with 100,000 tables spends
// 4 % of its CPU on collecting, with Go's default and no tables 15 %. A million tables
// are 0.7 GB, marked in 0.2 s of CPU: at a quarter of that one create pays 10 us of it.
const (
	Headroom     = 64 << 20
	LeastPercent = 25
)

// Keep applies the policy from now on, for the process, unless its environment says
// what it wants: with GOGC or GOMEMLIMIT. It reports whether it does.
func Keep() bool {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if os.Getenv(name) != "" {
			return false
		}
	}
	k := &keeper{}
	k.afterEach(nil)
	return true
}

// leastHeap is what Go takes the heap for if it is smaller, at 100 percent.
const leastHeap = 4 << 20

// percentFor returns the GC percentage with so much live.
func percentFor(live uint64) int {
	return int(max(LeastPercent, Headroom*100/max(live, leastHeap)))
}

// keeper adjusts the percentage after each collection.
type keeper struct{ percent int }

// cycle is garbage from the beginning: its finalizer runs after the next collection.
// It has a pointer, so that it is no part of a block of tiny objects.
type cycle struct{ _ *cycle }

func (k *keeper) afterEach(*cycle) {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if p := percentFor(sample[0].Value.Uint64()); p != k.percent {
		debug.SetGCPercent(p)
		k.percent = p
	}
	runtime.SetFinalizer(&cycle{}, k.afterEach)
}
