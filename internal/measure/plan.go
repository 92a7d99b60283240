package measure

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// Limits and defaults of a Plan.
const (
	MaxClients  = 10_000
	MaxRate     = 5e6 // operations a second
	MaxDuration = time.Hour
	// DefaultDrain is how long operations that are under way at the end may take.
	DefaultDrain = 10 * time.Second
	// failurePause keeps a closed loop from spinning on a service that is not there.
	failurePause = 5 * time.Millisecond
	// backlog is how many due operations wait for a client before the schedule waits
	// too; their times are not changed by that.
	backlog = 1 << 14
)

// Op does one operation. An operation that belongs to a part of the whole, such as the
// reads of a mix, names the part; others return "".
type Op func(ctx context.Context) (part string, err error)

// Plan says how to run operations. Clients and Duration are required.
type Plan struct {
	// Clients is how many operations are under way at a time: always in a closed loop,
	// at most in an open one.
	Clients int
	// Rate is the operations a second of an open loop; 0: a closed loop.
	Rate float64
	// WarmUp comes before the window and Duration is the window's length.
	WarmUp, Duration time.Duration
	// Repeat is how many operations one call of an Op does, one after the other; their
	// latency is that of the call divided by Repeat. 0: 1.
	Repeat int
	// Drain bounds the operations under way at the end; 0: DefaultDrain.
	Drain time.Duration
	// Kind names the kind of an error; nil: all are "error".
	Kind func(error) string
	// Observe is told of each success that was due in the window: when that was, since the
	// run began, and how long it took. It is called by one client at a time; nil: nobody is.
	Observe func(due, took time.Duration)
	// Progress is told how it goes, ProgressEvery (0: a second) apart; nil: nobody is.
	Progress      func(Progress)
	ProgressEvery time.Duration

	clock clock // nil: the system's
}

// Progress is how a run goes.
type Progress struct {
	Elapsed   time.Duration // since the run began
	Total     time.Duration // of warm-up and window
	WarmingUp bool
	Rate      float64 // operations a second since the last report
	Errors    int64   // since the run began, warm-up included
}

// Check refuses plans that cannot be run, and fills in defaults.
func (p *Plan) Check() error {
	switch {
	case p.Clients < 1 || p.Clients > MaxClients:
		return fmt.Errorf("measure: %d clients; give 1 to %d", p.Clients, MaxClients)
	case p.Rate < 0 || p.Rate > MaxRate || math.IsNaN(p.Rate):
		return fmt.Errorf("measure: a rate of %v operations a second; give up to %v, or 0 for a closed loop", p.Rate, float64(MaxRate))
	case p.Duration <= 0 || p.Duration > MaxDuration:
		return fmt.Errorf("measure: a duration of %v; give a time above 0 and up to %v", p.Duration, MaxDuration)
	case p.WarmUp < 0 || p.WarmUp > MaxDuration:
		return fmt.Errorf("measure: a warm-up of %v; give up to %v", p.WarmUp, MaxDuration)
	case p.Repeat < 0:
		return errors.New("measure: an operation cannot be repeated less than once")
	}
	p.Repeat = max(p.Repeat, 1)
	if p.Drain == 0 {
		p.Drain = DefaultDrain
	}
	if p.Kind == nil {
		p.Kind = func(error) string { return "error" }
	}
	if p.ProgressEvery <= 0 {
		p.ProgressEvery = time.Second
	}
	if p.clock == nil {
		p.clock = newSystemClock()
	}
	return nil
}
