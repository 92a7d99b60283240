package client

import (
	"sync"
	"time"
)

// awake is a clock that counts the time since it was made, the sleep of the machine
// included: the monotonic clock stands still while a machine is suspended, and the
// wall clock may be set. Between two readings the greater difference counts. A wall
// clock that is set forward lets a lease run out early, which is safe; one that is
// set back changes nothing. It is safe for concurrent use.
type awake struct {
	now func() time.Time

	mu      sync.Mutex
	last    time.Time
	elapsed time.Duration
}

func newAwake(now func() time.Time) *awake { return &awake{now: now, last: now()} }

// read returns the time that has passed. It never runs backwards.
func (a *awake) read() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	wall := now.Round(0).Sub(a.last.Round(0))
	a.elapsed += max(0, now.Sub(a.last), wall)
	a.last = now
	return a.elapsed
}
