package workload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Outage measures for how long nothing is acknowledged around a fault.
type Outage struct {
	// Every is the time between two probes; each is sent whatever becomes of the others.
	Every time.Duration
	// Lead is how long probes are sent before the fault, and Limit for how long at most
	// behind it.
	Lead, Limit time.Duration
}

// Defaults of an Outage.
const (
	outageEvery = 10 * time.Millisecond
	outageLead  = 500 * time.Millisecond
	outageLimit = 30 * time.Second
)

// probe is a write that was acknowledged.
type probe struct{ sent, acknowledged time.Time }

// Measure breaks something and returns the time from just before that until the first
// acknowledgement of a write that was sent behind it. Both functions come from outside;
// write has to end with its context.
func (o Outage) Measure(ctx context.Context, write func(context.Context) error, breakIt func() error) (time.Duration, error) {
	probing, cancel := context.WithTimeout(ctx, o.Lead+o.Limit)
	var active sync.WaitGroup
	defer active.Wait()
	defer cancel()
	acknowledged := make(chan probe)
	active.Go(func() {
		ticker := time.NewTicker(o.Every)
		defer ticker.Stop()
		for {
			active.Go(func() { o.probe(probing, write, acknowledged) })
			select {
			case <-ticker.C:
			case <-probing.Done():
				return
			}
		}
	})
	if err := o.lead(probing, acknowledged); err != nil {
		return 0, errors.Join(err, context.Cause(ctx))
	}
	before := time.Now()
	if err := breakIt(); err != nil {
		return 0, fmt.Errorf("the fault failed: %w", err)
	}
	behind := time.Now()
	for {
		select {
		case p := <-acknowledged:
			if p.sent.After(behind) {
				return p.acknowledged.Sub(before), nil
			}
		case <-probing.Done():
			if ctx.Err() != nil {
				return 0, context.Cause(ctx)
			}
			return 0, fmt.Errorf("no write was acknowledged within %v of the fault", o.Limit)
		}
	}
}

// probe makes one write.
func (o Outage) probe(ctx context.Context, write func(context.Context) error, acknowledged chan<- probe) {
	p := probe{sent: time.Now()}
	if write(ctx) != nil {
		return // the next one is on its way
	}
	p.acknowledged = time.Now()
	select {
	case acknowledged <- p:
	case <-ctx.Done():
	}
}

// lead waits until the fault is due. Writes have to be acknowledged before it.
func (o Outage) lead(ctx context.Context, acknowledged <-chan probe) error {
	due := time.After(o.Lead)
	for n := 0; ; {
		select {
		case <-acknowledged:
			n++
		case <-due:
			if n == 0 {
				return fmt.Errorf("no write was acknowledged in the %v before the fault", o.Lead)
			}
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
