// Package heapgoal decides how far the heap grows between two garbage collections.
//
// Go lets it double, whatever its size. A member's heap is a model that hardly
// changes: of a small one that is too little (a leader collects many times a second),
// of a large one too much (half of the memory is garbage). Here the heap grows by
// [Headroom], or by [LeastPercent] of what is live if that is more; and a process that
// does nothing for a second gives back what it does not need.
package heapgoal

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Measured on two cores, 64 clients creating tables in a cluster of three: a leader
// collects once a second; with Go's default, garbage collection took 15 % of its CPU. The
// percentage counts above 768 MiB: a constant would make each allocation dearer the larger
// the model is.
const (
	Headroom     = 192 << 20
	LeastPercent = 25
)

// A process at rest keeps no more garbage than that: it is collected, and given back.
const (
	atRest     = 8 << 20 // of memory that is not live
	lookEvery  = time.Second
	stillBytes = 1 << 20 // allocated since the last look: then it is at rest
)

// Keep applies the policy from now on until ctx ends, for the process, unless its
// environment says what it wants: with GOGC or GOMEMLIMIT. It reports whether it does.
func Keep(ctx context.Context) bool {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if os.Getenv(name) != "" {
			return false
		}
	}
	k := &keeper{ctx: ctx}
	k.afterEach(nil)
	go k.watch()
	return true
}

// leastHeap is what Go takes the heap for if it is smaller, at 100 percent.
const leastHeap = 4 << 20

// percentFor returns the GC percentage with so much live.
func percentFor(live uint64) int {
	return int(max(LeastPercent, Headroom*100/max(live, leastHeap)))
}

// keeper adjusts the percentage after each collection.
type keeper struct {
	ctx     context.Context
	percent int
}

// cycle is garbage from the beginning: its finalizer runs after the next collection.
// It has a pointer, so that it is no part of a block of tiny objects.
type cycle struct{ _ *cycle }

func (k *keeper) afterEach(*cycle) {
	if k.ctx.Err() != nil {
		return
	}
	if p := percentFor(look().live); p != k.percent {
		debug.SetGCPercent(p)
		k.percent = p
	}
	runtime.SetFinalizer(&cycle{}, k.afterEach)
}

// watch gives back memory while the process is at rest.
func (k *keeper) watch() {
	timer := time.NewTicker(lookEvery)
	defer timer.Stop()
	before := look()
	for {
		select {
		case <-timer.C:
		case <-k.ctx.Done():
			return
		}
		now := look()
		if now.wasteful(before) {
			debug.FreeOSMemory()
		}
		before = now
	}
}

// heap is the heap at one moment.
type heap struct {
	live      uint64 // marked by the last collection
	objects   uint64 // live or not yet collected
	free      uint64 // neither used nor given back
	allocated uint64 // since the start
}

func look() heap {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/gc/heap/allocs:bytes"},
	}
	metrics.Read(samples)
	at := func(i int) uint64 { return samples[i].Value.Uint64() }
	return heap{at(0), at(1), at(2), at(3)}
}

// wasteful reports whether a process that is at rest since an earlier moment should
// collect and give back.
func (h heap) wasteful(before heap) bool {
	return h.allocated-before.allocated < stillBytes && h.objects+h.free > h.live+atRest
}
