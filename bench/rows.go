package main

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/heliosdb/metadata/internal/workload"
)

// row is some lines that are measured together.
type row struct {
	name  string
	about string // what is done on both sides
	lines []line
	// columns head the figures; empty: heliosmeta and etcd.
	columns [2]string
	rounds  int           // at least, where a ratio is wanted
	limit   time.Duration // of one round
	own     bool          // it has clusters of its own: the shared ones are in its way
	fresh   bool          // the shared clusters hold nothing when it begins
	extra   bool          // only when asked for by name
	// open prepares and returns what measures a round, and what ends it all.
	open func(ctx context.Context, e *env) (pair, func() error, error)
}

// untargeted lines are shown without a judgement.
var untargeted = math.NaN()

// roundLimit bounds a round of a row that measures for some seconds.
const roundLimit = 2 * time.Minute

// settings are the defaults of workloads here.
func settings(clients int) workload.Settings {
	return workload.Settings{Clients: clients, Tables: 10_000, Changes: 100_000, Nodes: 1000, Pipeline: 64, Subscribers: 100, Batch: 100, Seed: 1}
}

// load measures the same workload on both systems.
func load(name, client string, rate float64, s workload.Settings) func(context.Context, *env) (pair, func() error, error) {
	return func(ctx context.Context, e *env) (pair, func() error, error) {
		a, b, err := e.shared(ctx)
		if err != nil {
			return nil, nil, err
		}
		var works []workload.Work
		var ends []func()
		end := func() error {
			for _, f := range ends {
				f()
			}
			return nil
		}
		for _, subject := range []subject{a, b} {
			w, done, err := subject.work(ctx, name, client, s)
			if err != nil {
				return nil, end, err
			}
			ends, works = append(ends, done), append(works, w)
			if err := w.Prepare(ctx); err != nil {
				return nil, end, err
			}
		}
		return func(ctx context.Context) (r round, err error) {
			if r.a, err = e.half(ctx, a, works[0], e.plan(s.Clients, rate)); err != nil {
				return r, err
			}
			r.b, err = e.half(ctx, b, works[1], e.plan(s.Clients, rate))
			return r, err
		}, end, nil
	}
}

// alone measures a workload on ours only.
func alone(name string, s workload.Settings) func(context.Context, *env) (pair, func() error, error) {
	return func(ctx context.Context, e *env) (pair, func() error, error) {
		o, err := startOurs(ctx, e, 1, false)
		if err != nil {
			return nil, nil, err
		}
		w, done, err := o.work(ctx, name, workload.GoClient, s)
		if err != nil {
			return nil, o.close, err
		}
		end := func() error { done(); return o.close() }
		if err := w.Prepare(ctx); err != nil {
			return nil, end, err
		}
		return func(ctx context.Context) (r round, err error) {
			r.a, err = e.half(ctx, o, w, e.plan(s.Clients, 0))
			return r, err
		}, end, nil
	}
}

// faults measures outages of both systems.
func faults(fault string) func(context.Context, *env) (pair, func() error, error) {
	return func(ctx context.Context, e *env) (pair, func() error, error) {
		a, b, err := e.start(ctx, members, fault == faultCut)
		if err != nil {
			return nil, nil, err
		}
		return func(ctx context.Context) (r round, err error) {
			if r.a, err = outageOf(ctx, a, fault); err != nil {
				return r, err
			}
			r.b, err = outageOf(ctx, b, fault)
			return r, err
		}, func() error { return closeAll(a, b) }, nil
	}
}

func outageOf(ctx context.Context, s subject, fault string) (figure, error) {
	took, err := outage(ctx, s, fault)
	if err != nil {
		return nil, errors.Join(errors.New(s.name()), err)
	}
	return figure{outageMillis: float64(took.Microseconds()) / 1e3}, nil
}

// rows is the table, in the order in which it is measured and printed.
func rows() []row {
	ops := func(title string, target float64) line {
		return line{title: title + ", a second", metric: opsPerSec, unit: "/s", target: target}
	}
	with := func(s workload.Settings, change func(*workload.Settings)) workload.Settings { change(&s); return s }
	outageLine := func(title string, target float64) []line {
		return []line{{title: title, metric: outageMillis, unit: "ms", lower: true, target: target}}
	}
	cpu := line{title: "  server CPU of all members for one", metric: cpuPerOp, unit: "us", lower: true, target: untargeted}
	goClient, grpc := workload.GoClient, workload.GRPCClient
	return append([]row{
		{name: "create-1", about: "CreateTable; put", limit: roundLimit, open: load("create", goClient, 0, settings(1)), lines: []line{
			{title: "create a table, 1 client: p50", metric: p50, unit: "us", lower: true, target: 0.7}, ops("  the same", untargeted),
		}},
		{name: "create-64", fresh: true, about: "CreateTable; put", limit: roundLimit, open: load("create", goClient, 0, settings(64)), lines: []line{
			ops("create tables, 64 clients", 2), {title: "  their p99", metric: p99, unit: "us", lower: true, target: 0.5}, cpu,
			{title: "  bytes written to disk by a member for one", metric: diskPerOp, unit: "B", lower: true, target: 1},
		}},
		{name: "create-256", fresh: true, about: "CreateTable; put", limit: roundLimit, open: load("create", goClient, 0, settings(256)), lines: []line{
			ops("create tables, 256 clients", 2), cpu,
		}},
		{name: "create-grpc-64", fresh: true, about: "CreateTable; put", limit: roundLimit, open: load("create", grpc, 0, settings(64)), lines: []line{
			ops("create tables, 64 clients, stock grpc-go", 1.2), cpu,
		}},
		{name: "bulk", fresh: true, about: "ApplyBatch of 100; Txn of 100 puts", limit: roundLimit, open: load("bulk", goClient, 0, settings(16)), lines: []line{
			{title: "tables in atomic batches of 100, a second", metric: objectsPerSec, unit: "/s", target: 2},
		}},
		{name: "get-64", fresh: true, about: "GetTable; Get", limit: roundLimit, open: load("get", goClient, 0, settings(64)), lines: []line{
			ops("linearizable reads, 64 clients", 1.5), cpu,
		}},
		{name: "get-grpc-64", about: "GetTable; Get", limit: roundLimit, open: load("get", grpc, 0, settings(64)), lines: []line{
			ops("linearizable reads, 64 clients, stock grpc-go", 1), cpu,
		}},
		{name: "get-local-64", about: "GetTable LOCAL; Get serializable", limit: roundLimit, open: load("get-local", goClient, 0, settings(64)), lines: []line{
			ops("LOCAL reads, 64 clients", 1.5), cpu,
		}},
		{name: "heartbeat", about: "StreamHeartbeats; LeaseKeepAlive; 16 streams, 64 under way on each", limit: roundLimit, open: load("heartbeat", goClient, 0, settings(16)), lines: []line{
			ops("heartbeats on open streams", 1),
			{title: "  ours for each core of the members", metric: perCore, unit: "/s", absolute: true, target: 100_000},
		}},
		{name: "fan-out", fresh: true, about: "Subscribe; Watch; 1,000 with a stream each, 8 clients create", limit: roundLimit,
			open: load("subscribe", goClient, 0, with(settings(8), func(s *workload.Settings) { s.Subscribers = 1000 })), lines: []line{
				ops("events to 1,000 subscribers", 2),
			}},
		{name: "change-to-subscriber", about: "the same, 100 subscribers, 100 changes a second", limit: roundLimit,
			open: load("subscribe", goClient, 100, settings(8)), lines: []line{
				{title: "change to subscriber, 100 a second to 100: p50", metric: p50, unit: "us", lower: true, target: 0.7},
				{title: "  their p99", metric: p99, unit: "us", lower: true, target: untargeted},
			}},
		{name: "cached-get", about: "Cache.Table, in the client", own: true, limit: roundLimit, open: alone("cached-get", settings(1)), lines: []line{
			{title: "cached GetTable in the client, one goroutine", metric: opsPerSec, unit: "/s", absolute: true, target: 5e6},
			{title: "  allocations for one", metric: allocations, absolute: true, lower: true, target: 0},
		}},
		{name: "route", about: "Cache.Route, in the client", own: true, limit: roundLimit, open: alone("route", settings(1)), lines: []line{
			{title: "Route in the client, one goroutine", metric: opsPerSec, unit: "/s", absolute: true, target: 5e6},
			{title: "  allocations for one", metric: allocations, absolute: true, lower: true, target: 0},
		}},
		{name: "failover-kill", about: "kill -9 of the leader; a client that knows all members", own: true, rounds: 10, limit: roundLimit,
			open: faults(faultKill), lines: outageLine("leader killed, to the next acknowledged write", 0.1)},
		{name: "failover-pause", about: "SIGSTOP of the leader; the same", own: true, rounds: 10, limit: roundLimit,
			open: faults(faultPause), lines: outageLine("leader paused, the same", 1)},
		{name: "failover-cut", about: "leader cut off from the other members; the same", own: true, rounds: 10, limit: roundLimit,
			open: faults(faultCut), lines: outageLine("leader cut off, the same", 1)},
	}, sizeRows()...)
}
