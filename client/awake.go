package client

import (
	"sync"
	"sync/atomic"
	"time"
)

// clockSlack is by how much the difference of the two clocks changes without a reason that
// awake looks into: clocks are read one after the other, and adjusted.
const clockSlack = time.Millisecond

// awake is a clock that counts the time since it was made, the sleep of the machine
// included: the monotonic clock stands still while a machine is suspended, and the
// wall clock may be set. What the wall clock gains on the monotonic one counts. A wall
// clock that is set forward lets a lease run out early, which is safe; one that is
// set back changes nothing. A reading may be behind an earlier one by clockSlack. It is safe
// for concurrent use and as a rule takes no locks.
type awake struct {
	clocks func() (monotonic, wall time.Duration) // since the same instant

	mu   sync.Mutex // held to change gain
	gain atomic.Pointer[gain]
}

// gain is what the wall clock has gained on the monotonic one.
type gain struct {
	ahead   time.Duration // the difference of the two when this was noted
	counted time.Duration // the sum of all that was gained
}

func newAwake(clocks func() (monotonic, wall time.Duration)) *awake {
	a := &awake{clocks: clocks}
	monotonic, wall := clocks()
	a.gain.Store(&gain{ahead: wall - monotonic, counted: -monotonic})
	return a
}

// clocksNow reads the machine's clocks.
func clocksNow() func() (monotonic, wall time.Duration) {
	begin := time.Now()
	return func() (time.Duration, time.Duration) {
		now := time.Now()
		return now.Sub(begin), now.Round(0).Sub(begin.Round(0))
	}
}

// read returns the time that has passed.
func (a *awake) read() time.Duration {
	monotonic, wall := a.clocks()
	g := a.gain.Load()
	if more := wall - monotonic - g.ahead; more <= clockSlack && more >= -clockSlack {
		return monotonic + g.counted + max(0, more)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	monotonic, wall = a.clocks() // not those of somebody who was interrupted here
	g = a.gain.Load()
	more := wall - monotonic - g.ahead
	g = &gain{ahead: g.ahead + more, counted: g.counted + max(0, more)}
	a.gain.Store(g)
	return monotonic + g.counted
}
