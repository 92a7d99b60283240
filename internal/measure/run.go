package measure

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// run is one run under way.
type run struct {
	plan     Plan
	recorder *Recorder

	// Times on the plan's clock.
	start time.Duration
	warm  time.Duration // the window begins
	end   time.Duration // the window ends

	done   atomic.Int64 // operations that succeeded, warm-up included
	inside atomic.Int64 // of them, those that ended in the window
	unsent atomic.Int64
	failed atomic.Int64 // warm-up included

	observing sync.Mutex // held to call the plan's Observe
}

// Run runs a plan. op gives each client, counted from 0, its operation. It returns what
// was measured, or why it did not come to the end: then there is no result, so that half
// a run is never taken for a whole one.
func Run(ctx context.Context, plan Plan, op func(client int) Op) (Result, error) {
	if err := plan.Check(); err != nil {
		return Result{}, err
	}
	r := &run{plan: plan, recorder: NewRecorder(), start: plan.clock.now()}
	r.warm = r.start + plan.WarmUp
	r.end = r.warm + plan.Duration
	// Operations that do not end are ended some time after the window.
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	giveUp := time.AfterFunc(plan.WarmUp+plan.Duration+plan.Drain, cancel)
	defer giveUp.Stop()

	var active, reports sync.WaitGroup
	ended := make(chan struct{})
	if plan.Progress != nil {
		reports.Go(func() { r.report(ended) })
	}
	r.launch(limited, &active, op)
	active.Wait()
	close(ended)
	reports.Wait()
	if err := ctx.Err(); err != nil {
		return Result{}, context.Cause(ctx)
	}
	return r.result(), nil
}

// launch starts the clients, and in an open loop what gives them their operations.
func (r *run) launch(ctx context.Context, active *sync.WaitGroup, op func(client int) Op) {
	if r.plan.Rate == 0 {
		for i := range r.plan.Clients {
			active.Go(func() { r.closedLoop(ctx, i, op(i)) })
		}
		return
	}
	due := make(chan time.Duration, backlog)
	active.Go(func() {
		defer close(due)
		// A thread of its own: it spends its life asleep in the kernel.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		r.schedule(ctx, due)
	})
	for i := range r.plan.Clients {
		active.Go(func() { r.openLoop(ctx, i, op(i), due) })
	}
}

// schedule emits the time of each operation when it has come. A full channel does not
// move the times that follow.
func (r *run) schedule(ctx context.Context, due chan<- time.Duration) {
	for k := 0; ; k++ {
		at := r.start + time.Duration(float64(k*r.plan.Repeat)/r.plan.Rate*float64(time.Second))
		if at >= r.end {
			return
		}
		r.plan.clock.sleepUntil(ctx, at)
		select {
		case due <- at:
		case <-ctx.Done():
			return
		}
	}
}

// closedLoop does one operation after the other.
func (r *run) closedLoop(ctx context.Context, client int, op Op) {
	for ctx.Err() == nil {
		began := r.plan.clock.now()
		if began >= r.end {
			return
		}
		if !r.perform(ctx, client, op, began) {
			r.plan.clock.sleepUntil(ctx, r.plan.clock.now()+failurePause)
		}
	}
}

// openLoop does operations as they become due. Those that wait when the window is over
// were not sent.
func (r *run) openLoop(ctx context.Context, client int, op Op, due <-chan time.Duration) {
	for at := range due {
		if ctx.Err() != nil {
			return
		}
		if now := r.plan.clock.now(); now >= r.end {
			if at >= r.warm {
				r.unsent.Add(1)
				r.recorder.Record(client, "", now-at, 1)
			}
			continue
		}
		r.perform(ctx, client, op, at)
	}
}

// perform does one operation that was due at a time, and reports whether it succeeded.
func (r *run) perform(ctx context.Context, client int, op Op, due time.Duration) bool {
	part, err := op(ctx)
	now, n := r.plan.clock.now(), int64(r.plan.Repeat)
	if err != nil {
		r.failed.Add(1)
		if due >= r.warm {
			r.recorder.Fail(r.plan.Kind(err), err, 1)
		}
		return false
	}
	r.done.Add(n)
	if now >= r.warm && now < r.end {
		r.inside.Add(n)
	}
	if due >= r.warm {
		r.recorder.Record(client, part, (now-due)/time.Duration(n), n)
		r.observe(due, now-due)
	}
	return true
}

func (r *run) observe(due, took time.Duration) {
	if r.plan.Observe == nil {
		return
	}
	r.observing.Lock()
	defer r.observing.Unlock()
	r.plan.Observe(due-r.start, took)
}

// report tells how it goes until the run has ended.
func (r *run) report(ended <-chan struct{}) {
	ticker := time.NewTicker(r.plan.ProgressEvery)
	defer ticker.Stop()
	before, then := int64(0), r.start
	for {
		select {
		case <-ended:
			return
		case <-ticker.C:
		}
		done, now := r.done.Load(), r.plan.clock.now()
		r.plan.Progress(Progress{
			Elapsed: now - r.start, Total: r.end - r.start, WarmingUp: now < r.warm,
			Rate: float64(done-before) / (now - then).Seconds(), Errors: r.failed.Load(),
		})
		before, then = done, now
	}
}

func (r *run) result() Result {
	seconds := r.plan.Duration.Seconds()
	return Result{
		Summary: r.recorder.Summary(), Seconds: round(seconds),
		OpsPerSec: round(float64(r.inside.Load()) / seconds), Unsent: r.unsent.Load(),
	}
}
