package heapgoal

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestPercent(t *testing.T) {
	for live, want := range map[uint64]int{
		0:         4800, // nothing was collected yet
		1 << 20:   4800,
		8 << 20:   2400,
		64 << 20:  300,
		192 << 20: 100,
		768 << 20: 25,
		1 << 30:   25,
	} {
		if got := percentFor(live); got != want {
			t.Errorf("with %d bytes live: %d percent, want %d", live, got, want)
		}
	}
}

func TestEnvironmentDecides(t *testing.T) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "100")
			if Keep(t.Context()) {
				t.Error("what the environment says was overruled")
			}
		})
	}
}

// The goal follows the heap: what is live, and the headroom.
func TestGoalFollowsTheHeap(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	defer debug.SetGCPercent(100)
	if !Keep(t.Context()) {
		t.Fatal("the policy was not applied")
	}
	var kept [][]byte
	for range 3 {
		for range 100 {
			kept = append(kept, make([]byte, 1<<20))
		}
		settle(t)
	}
	runtime.KeepAlive(kept)
}

// settle collects until the goal is what it should be.
func settle(t *testing.T) {
	t.Helper()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/goal:bytes"}}
	for range 1000 {
		runtime.GC()
		metrics.Read(sample)
		live, goal := sample[0].Value.Uint64(), sample[1].Value.Uint64()
		room := max(Headroom, live*LeastPercent/100)
		// The percentage is a whole number, and stacks and globals count a little.
		if grows := goal - live; grows > room*9/10 && grows < room*11/10+4<<20 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d bytes live, the goal is %d", sample[0].Value.Uint64(), sample[1].Value.Uint64())
}

func TestOnlyAtRestMemoryIsGivenBack(t *testing.T) {
	const mib = 1 << 20
	before := heap{live: 100 * mib, objects: 120 * mib, free: 5 * mib, allocated: 1000 * mib}
	for name, c := range map[string]struct {
		now  heap
		want bool
	}{
		"garbage":        {heap{100 * mib, 120 * mib, 5 * mib, 1000 * mib}, true},
		"free":           {heap{100 * mib, 101 * mib, 16 * mib, 1000 * mib}, true},
		"little of both": {heap{100 * mib, 105 * mib, 3 * mib, 1000 * mib}, false},
		"busy":           {heap{100 * mib, 120 * mib, 5 * mib, 1002 * mib}, false},
	} {
		if got := c.now.wasteful(before); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
