package client

import (
	"testing"
	"time"
)

// handClock is a machine's clocks, that somebody sets.
type handClock struct{ monotonic, wall time.Duration }

func (h *handClock) clocks() (monotonic, wall time.Duration) { return h.monotonic, h.wall }

func TestTheClockCountsSleepAndNeverRunsBack(t *testing.T) {
	h := &handClock{monotonic: time.Hour, wall: 2 * time.Hour}
	a := newAwake(h.clocks)
	for _, c := range []struct {
		why                    string
		monotonic, wall, after time.Duration
	}{
		{why: "awake", monotonic: time.Second, wall: time.Second, after: time.Second},
		{why: "the wall clock is set back", wall: -time.Hour, after: time.Second},
		{why: "awake again", monotonic: time.Second, wall: time.Second, after: 2 * time.Second},
		{why: "asleep", wall: time.Minute, after: 62 * time.Second},
		{why: "no time", after: 62 * time.Second},
		{why: "the wall clock is slow", monotonic: time.Second, wall: 900 * time.Millisecond, after: 63 * time.Second},
		{why: "asleep after that", wall: time.Minute, after: 123 * time.Second},
		{why: "the clocks are read apart", monotonic: time.Second, wall: time.Second + time.Microsecond, after: 124*time.Second + time.Microsecond},
		{why: "and the other way round", monotonic: time.Second, wall: time.Second - time.Microsecond, after: 125 * time.Second},
	} {
		h.monotonic, h.wall = h.monotonic+c.monotonic, h.wall+c.wall
		if got := a.read(); got != c.after {
			t.Fatalf("%s: it shows %v, want %v", c.why, got, c.after)
		}
	}
	// A wall clock that gains a little all the time is followed.
	before := a.read()
	for range 1000 {
		h.monotonic, h.wall = h.monotonic+time.Millisecond, h.wall+2*time.Millisecond
		a.read()
	}
	if got := a.read() - before; got != 2*time.Second {
		t.Fatalf("in two seconds of the faster clock it shows %v", got)
	}
	// The monotonic clock goes on whatever the wall clock does.
	a = newAwake(clocksNow())
	time.Sleep(2 * time.Millisecond)
	if got := a.read(); got < 2*time.Millisecond || got > time.Minute {
		t.Fatalf("after 2 ms it shows %v", got)
	}
}

// Who asks before each act pays for no lock, and no reading makes the time run faster.
func TestTheClockIsReadForNothing(t *testing.T) {
	a := newAwake(clocksNow())
	before := a.gain.Load()
	if n := testing.AllocsPerRun(10_000, func() { a.read() }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if got := a.gain.Load(); got.counted-before.counted > 100*time.Millisecond {
		t.Errorf("10,000 readings have gained %v", got.counted-before.counted)
	}
}
