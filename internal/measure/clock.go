package measure

import (
	"context"
	"time"
)

// clock is time since the run began.
type clock interface {
	now() time.Duration
	// sleepUntil returns at a time or when the context ends, whichever is first.
	sleepUntil(ctx context.Context, at time.Duration)
}

// longestNap bounds how late a sleeper hears that its context has ended.
const longestNap = 20 * time.Millisecond

// systemClock sleeps in the kernel: the runtime's own timers are up to a millisecond
// late on a machine with little to do, which would count as the service's time.
type systemClock struct{ began time.Time }

func newSystemClock() clock { return &systemClock{began: time.Now()} }

func (c *systemClock) now() time.Duration { return time.Since(c.began) }

func (c *systemClock) sleepUntil(ctx context.Context, at time.Duration) {
	for ctx.Err() == nil {
		left := at - c.now()
		if left <= 0 {
			return
		}
		nap(min(left, longestNap))
	}
}
