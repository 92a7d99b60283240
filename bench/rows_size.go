package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/heliosdb/metadata/internal/fleet"
	"github.com/heliosdb/metadata/internal/measure"
	"github.com/heliosdb/metadata/internal/workload"
)

// Sizes of what is stored. A row that creates more stays below the service's limit of
// 1,000,000 tables.
const (
	small    = 10_000
	hundred  = 100_000
	million  = 1_000_000
	almost   = 900_000
	sizeWait = 5 * time.Second // for a system to come to rest
	// A million take a while to create.
	longLimit = 6 * time.Minute
)

// The load of the rows that compare ours with ours: the same each time, and so small that
// all rounds together stay below the limit of tables.
const (
	steadyRate     = 1000
	steadyClients  = 32
	checkpointSpan = 12 * time.Second
	// checkpointEvery is how many changes lie between two checkpoints there: two in a span.
	checkpointEvery = "6000"
	costSpan        = 5 * time.Second
)

// sizeRows have clusters of one: a member's state is the same with others beside it, and
// two cores do not have to hold six of them.
func sizeRows() []row {
	memory := func(of string) []line {
		return []line{
			{title: "memory of a member " + of, metric: resident, unit: "MiB", lower: true, target: 1},
			{title: "  of it, not of files", metric: anonymous, unit: "MiB", lower: true, target: untargeted},
		}
	}
	return []row{
		{name: "memory-100k", about: "resident memory after creating them", own: true, limit: longLimit, open: filled(hundred), lines: memory("with 100,000 tables")},
		{name: "memory-1m", about: "resident memory after creating them", own: true, extra: true, limit: longLimit, open: filled(million), lines: memory("with 1,000,000 tables")},
		{name: "restart-1m", about: "kill -9, start, read without a quorum", own: true, limit: longLimit, open: restarts, lines: append([]line{
			{title: "restart with 1,000,000 tables until LOCAL reads", metric: seconds, unit: "s", lower: true, target: 1},
			{title: "  ours", metric: seconds, unit: "s", lower: true, absolute: true, target: 10},
		}, memory("restarted with 1,000,000 tables")...)},
		{name: "checkpoint", about: "create at 1,000/s with 900,000 tables", columns: [2]string{"during a checkpoint", "without"}, own: true,
			limit: longLimit, open: checkpoints, lines: []line{
				{title: "create p99 while a checkpoint is written", metric: p99, unit: "us", lower: true, target: 1.2},
			}},
		{name: "cost", about: "create at 1,000/s", columns: [2]string{"900,000 tables", "10,000 tables"}, own: true,
			limit: longLimit, open: costs, lines: []line{
				{title: "server CPU for one create", metric: cpuPerOp, unit: "us", lower: true, target: 1.2},
				{title: "  its p50", metric: p50, unit: "us", lower: true, target: 1.2},
			}},
	}
}

// filled measures memory of fresh members with so many objects.
func filled(n int64) func(context.Context, *env) (pair, func() error, error) {
	return func(_ context.Context, e *env) (pair, func() error, error) {
		half := func(ctx context.Context, s subject) (f figure, err error) {
			defer func() { err = errors.Join(err, s.close()) }()
			if err := s.fill(ctx, 0, e.scaled(n)); err != nil {
				return nil, err
			}
			return atRest(ctx, s)
		}
		return func(ctx context.Context) (r round, err error) {
			o, err := startOurs(ctx, e, 1, false)
			if err != nil {
				return r, err
			}
			if r.a, err = half(ctx, o); err != nil {
				return r, err
			}
			c, err := startEtcd(ctx, e, 1, false)
			if err != nil {
				return r, err
			}
			r.b, err = half(ctx, c)
			return r, err
		}, func() error { return nil }, nil
	}
}

// atRest measures memory when a system has had time to give back what it does not need.
func atRest(ctx context.Context, s subject) (figure, error) {
	select {
	case <-time.After(sizeWait):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	u, err := fleet.ReadUsage(s.process(0).PID())
	if err != nil {
		return nil, err
	}
	return figure{resident: float64(u.Resident) / (1 << 20), anonymous: float64(u.Anonymous) / (1 << 20)}, nil
}

// restarts kills and starts members with a million objects.
func restarts(ctx context.Context, e *env) (pair, func() error, error) {
	a, b, err := e.start(ctx, 1, false)
	if err != nil {
		return nil, nil, err
	}
	end := func() error { return closeAll(a, b) }
	stored := e.scaled(million)
	for _, s := range []subject{a, b} {
		e.say("restart-1m: creating %d objects in %s", stored, s.name())
		if err := s.fill(ctx, 0, stored); err != nil {
			return nil, end, fmt.Errorf("%s: %w", s.name(), err)
		}
	}
	half := func(ctx context.Context, s subject) (figure, error) {
		if err := s.process(0).Kill(); err != nil {
			return nil, err
		}
		began := time.Now()
		if err := s.launch(0); err != nil {
			return nil, err
		}
		if err := s.awaitRead(ctx, 0, stored-1); err != nil {
			return nil, err
		}
		took := time.Since(began)
		if err := s.ready(ctx); err != nil {
			return nil, err
		}
		f, err := atRest(ctx, s)
		if err == nil {
			f[seconds] = took.Seconds()
		}
		return f, err
	}
	return func(ctx context.Context) (r round, err error) {
		if r.a, err = half(ctx, a); err != nil {
			return r, err
		}
		r.b, err = half(ctx, b)
		return r, err
	}, end, nil
}

// prepared is ours with tables and a work that creates more.
func prepared(ctx context.Context, e *env, tables int64, flags ...string) (*ours, workload.Work, func() error, error) {
	o, err := startOurs(ctx, e, 1, false, flags...)
	if err != nil {
		return nil, nil, nil, err
	}
	tables = e.scaled(tables)
	e.say("creating %d tables", tables)
	if err := o.fill(ctx, 0, tables); err != nil {
		return nil, nil, nil, errors.Join(err, o.close())
	}
	w, done, err := o.work(ctx, "create", workload.GoClient, settings(steadyClients))
	if err != nil {
		return nil, nil, nil, errors.Join(err, o.close())
	}
	end := func() error { done(); return o.close() }
	if err := w.Prepare(ctx); err != nil {
		return nil, nil, nil, errors.Join(err, end())
	}
	return o, w, end, nil
}

// costs compares creates in a large model with creates in a small one.
func costs(ctx context.Context, e *env) (pair, func() error, error) {
	large, inLarge, endLarge, err := prepared(ctx, e, almost)
	if err != nil {
		return nil, nil, err
	}
	tiny, inTiny, endTiny, err := prepared(ctx, e, small)
	if err != nil {
		return nil, endLarge, err
	}
	plan := measure.Plan{Clients: steadyClients, Rate: steadyRate, WarmUp: e.warmUp, Duration: costSpan}
	return func(ctx context.Context) (r round, err error) {
		if r.a, err = e.half(ctx, large, inLarge, plan); err != nil {
			return r, err
		}
		r.b, err = e.half(ctx, tiny, inTiny, plan)
		return r, err
	}, func() error { return errors.Join(endLarge(), endTiny()) }, nil
}

// checkpoints compares creates that were due while a checkpoint was written with the
// others of the same run.
func checkpoints(ctx context.Context, e *env) (pair, func() error, error) {
	o, w, end, err := prepared(ctx, e, almost, "--checkpoint-revisions", checkpointEvery)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context) (round, error) {
		looking, stop := context.WithCancel(ctx)
		defer stop()
		during := watchCheckpoints(looking, o.cluster.API()[0])
		within, without := measure.NewRecorder(), measure.NewRecorder()
		var all []observed
		plan := measure.Plan{Clients: steadyClients, Rate: steadyRate, WarmUp: e.warmUp, Duration: checkpointSpan}
		began := time.Now()
		plan.Observe = func(due, took time.Duration) { all = append(all, observed{began.Add(due), took}) }
		if _, err := w.Run(ctx, plan); err != nil {
			return round{}, err
		}
		stop()
		spans := <-during
		for _, one := range all {
			if inAny(spans, one.due, one.due.Add(one.took)) {
				within.Record(0, "", one.took, 1)
			} else {
				without.Record(0, "", one.took, 1)
			}
		}
		a, b := within.Summary(), without.Summary()
		if a.Count < 100 || b.Count < 100 {
			return round{}, fmt.Errorf("%d creates during %d checkpoints and %d without: too few to compare", a.Count, len(spans), b.Count)
		}
		return round{a: figure{p99: a.P99US}, b: figure{p99: b.P99US}}, nil
	}, end, nil
}

// observed is one create.
type observed struct {
	due  time.Time
	took time.Duration
}
