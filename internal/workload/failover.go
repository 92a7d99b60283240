package workload

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/heliosdb/metadata/client"
	"github.com/heliosdb/metadata/internal/measure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Fault is what happens to a leader.
type Fault string

// The faults.
const (
	Kill  Fault = "kill"  // its process ends at once
	Pause Fault = "pause" // its process stands still, connections stay open
)

// pauseTakes is how long a process may run on after it was told to stand still.
const pauseTakes = 5 * time.Millisecond

// failover takes the schema's leader away, again and again, until the window is over.
// Each operation is one fault; its latency is the outage.
type failover struct {
	*base
	next atomic.Int64
}

func (w *failover) Prepare(ctx context.Context) error {
	if _, ok := w.Callers[0].(goCaller); !ok {
		return errors.New("failover needs the Go client: a stock connection knows one member only")
	}
	if w.Cluster.Size() < 3 {
		return fmt.Errorf("failover needs 3 members; there are %d", w.Cluster.Size())
	}
	return w.openNamespace(ctx)
}

func (w *failover) Run(ctx context.Context, plan measure.Plan) (Report, error) {
	return w.rounds(ctx, plan, w.round)
}

// rounds repeats what cannot be done by several clients at a time, until the window is
// over; the last round is finished.
func (b *base) rounds(ctx context.Context, plan measure.Plan, round func(context.Context) (time.Duration, error)) (Report, error) {
	recorder := measure.NewRecorder()
	began, done := time.Now(), 0
	for n := 1; n == 1 || time.Since(began) < plan.Duration; n++ {
		took, err := round(ctx)
		if ctx.Err() != nil {
			return Report{}, context.Cause(ctx)
		}
		if err != nil {
			return Report{}, fmt.Errorf("round %d: %w", n, err)
		}
		b.Say("round %d: %v", n, took.Round(100*time.Microsecond))
		recorder.Record(0, "", took, 1)
		done++
	}
	seconds := time.Since(began).Seconds()
	return Report{Result: measure.Result{
		Summary: recorder.Summary(), Seconds: seconds, OpsPerSec: float64(done) / seconds,
	}}, nil
}

func (w *failover) round(ctx context.Context) (time.Duration, error) {
	leader, err := w.Cluster.Leader(ctx, schema)
	if err != nil {
		return 0, err
	}
	// A client that was there before, as applications are; a new one for each round, so that
	// it has not learnt from the last.
	c, err := client.New(client.Options{Endpoints: w.Endpoints, InOrder: true, TLS: w.TLS, Actor: "bench"})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	outage := Outage{Every: outageEvery, Lead: outageLead, Limit: outageLimit}
	took, err := outage.Measure(ctx, func(ctx context.Context) error {
		_, err := c.CreateTable(ctx, &metadatav1.CreateTableRequest{Table: Table(w.id, w.next.Add(1))})
		return err
	}, func() error { return w.strike(leader) })
	return took, errors.Join(err, w.restore(ctx, leader))
}

// strike breaks a member.
func (w *failover) strike(member int) error {
	if w.Fault == Pause {
		err := w.Cluster.Process(member).Pause()
		time.Sleep(pauseTakes)
		return err
	}
	return w.Cluster.Kill(member)
}

// restore makes the cluster whole again.
func (w *failover) restore(ctx context.Context, member int) error {
	p := w.Cluster.Process(member)
	var err error
	if p.Ended() {
		err = w.Cluster.Launch(member)
	} else {
		err = p.Resume()
	}
	if err == nil {
		err = w.Cluster.Ready(ctx)
	}
	return errors.Join(err, sleep(ctx, w.Settle))
}

// sleep waits unless the context ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
