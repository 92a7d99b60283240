package leases

import (
	"time"

	"github.com/heliosdb/metadata/internal/failure"
)

// Limits and defaults.
const (
	// DefaultLease is how long a lease lasts.
	DefaultLease = 5 * time.Second
	// DefaultInterval is how often a node beats.
	DefaultInterval = time.Second
	// MinInterval is the shortest time between two beats of a node.
	MinInterval = 10 * time.Millisecond
	// MaxLease is the longest lease.
	MaxLease = time.Hour
	// MinBeatsPerLease is how many intervals a lease has at least, so that one
	// lost beat takes no node offline.
	MinBeatsPerLease = 3
	// MaxTransitionsPerTick bounds what one Tick hands out, so that an outage of
	// many nodes does not fill the leader's queue at once. The rest follows with
	// the next Tick.
	MaxTransitionsPerTick = 512
)

// Options configure a Table. The zero value means the defaults.
type Options struct {
	Lease    time.Duration // how long a lease lasts; default 5 s
	Interval time.Duration // how often nodes beat, and the pause before a failed transition is tried again; default 1 s
	MaxStep  time.Duration // how much silence the time between two calls can count for; default half an Interval
}

// withDefaults returns o with zero fields filled in.
func (o Options) withDefaults() Options {
	if o.Lease == 0 {
		o.Lease = DefaultLease
	}
	if o.Interval == 0 {
		o.Interval = DefaultInterval
	}
	if o.MaxStep == 0 {
		o.MaxStep = o.Interval / 2
	}
	return o
}

// Check returns an INVALID_FIELD failure if the options, with their defaults,
// break a limit.
func (o Options) Check() error {
	o = o.withDefaults()
	switch {
	case o.Interval < MinInterval:
		return failure.InvalidField("heartbeat_interval", "%v is too short; use at least %v", o.Interval, MinInterval)
	case o.Lease < MinBeatsPerLease*o.Interval:
		return failure.InvalidField("lease_duration", "%v is too short for a heartbeat every %v; use at least %d intervals", o.Lease, o.Interval, MinBeatsPerLease)
	case o.Lease > MaxLease:
		return failure.InvalidField("lease_duration", "%v is too long; use at most %v", o.Lease, MaxLease)
	case o.MaxStep <= 0 || o.MaxStep > o.Lease:
		return failure.InvalidField("max_step", "%v does not lie between 0 and the lease of %v", o.MaxStep, o.Lease)
	}
	return nil
}
