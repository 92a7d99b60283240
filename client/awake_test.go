package client

import (
	"testing"
	"time"
)

func TestTheClockCountsSleepAndNeverRunsBack(t *testing.T) {
	// Times without a monotonic reading stand for a wall clock that somebody sets.
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a := newAwake(func() time.Time { return now })
	for _, c := range []struct{ step, want time.Duration }{
		{time.Second, time.Second},
		{-time.Hour, time.Second}, // set back
		{time.Second, 2 * time.Second},
		{time.Minute, 62 * time.Second}, // set forward, or asleep
		{0, 62 * time.Second},
	} {
		now = now.Add(c.step)
		if got := a.read(); got != c.want {
			t.Fatalf("after a step of %v it shows %v, want %v", c.step, got, c.want)
		}
	}
	// The monotonic clock goes on whatever the wall clock does.
	a = newAwake(time.Now)
	time.Sleep(2 * time.Millisecond)
	if got := a.read(); got < 2*time.Millisecond || got > time.Minute {
		t.Fatalf("after 2 ms it shows %v", got)
	}
}
