package workload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heliosdb/metadata/internal/measure"
)

const (
	// remembered is for how many changes the time of sending is known: a subscriber that
	// is further behind is measured wrongly, and is counted as such.
	remembered = 1 << 20
	// catchUp is how long subscribers have to hear of everything after the last change.
	catchUp = 20 * time.Second
)

// FanOut measures how changes reach many listeners. All fields are required.
type FanOut struct {
	Listeners int
	// Listen hears of changes until the context ends. It calls ready once, when no change
	// that begins from then on will be missed, and heard for each change with its number.
	Listen func(ctx context.Context, listener int, ready func(), heard func(n int64)) error
	// Write makes the change with a number, as a client.
	Write func(ctx context.Context, client int, n int64) error
	Kind  func(error) string
}

// fan is one run of a FanOut.
type fan struct {
	FanOut
	recorder  *measure.Recorder
	began     time.Time
	warm, end time.Duration
	next      atomic.Int64
	written   atomic.Int64
	sent      []atomic.Int64 // by number modulo remembered: nanoseconds since began
	inside    atomic.Int64   // heard within the window
	heard     []atomic.Int64 // by listener
}

// Run makes changes as the plan says and reports what the listeners heard of them: how
// many a second, and the time from before the call that changes to the hearing.
func (f FanOut) Run(ctx context.Context, plan measure.Plan) (Report, error) {
	r := &fan{
		FanOut: f, recorder: measure.NewRecorder(),
		sent: make([]atomic.Int64, remembered), heard: make([]atomic.Int64, f.Listeners),
	}
	listening, stop := context.WithCancel(ctx)
	var listeners sync.WaitGroup
	defer listeners.Wait()
	defer stop()
	if err := r.listen(listening, &listeners); err != nil {
		return Report{}, err
	}
	r.began = time.Now()
	r.warm = plan.WarmUp
	r.end = r.warm + plan.Duration
	writing, err := measure.Run(ctx, plan, func(client int) measure.Op {
		return func(ctx context.Context) (string, error) { return "", r.write(ctx, client) }
	})
	if err != nil {
		return Report{}, err
	}
	r.await(ctx)
	stop()
	listeners.Wait()
	if err := ctx.Err(); err != nil {
		return Report{}, context.Cause(ctx)
	}
	return r.report(writing), nil
}

// listen starts the listeners and waits until all are ready.
func (r *fan) listen(ctx context.Context, active *sync.WaitGroup) error {
	ready := make(chan error, r.Listeners)
	for i := range r.Listeners {
		active.Go(func() {
			var once sync.Once
			err := r.Listen(ctx, i, func() { once.Do(func() { ready <- nil }) }, func(n int64) { r.hear(i, n) })
			if err == nil {
				err = errors.New("it ended")
			}
			if ctx.Err() == nil {
				r.recorder.Fail(r.Kind(err), err, 1)
			}
			once.Do(func() { ready <- err })
		})
	}
	for range r.Listeners {
		if err := <-ready; err != nil {
			return fmt.Errorf("a subscriber is not ready: %w", err)
		}
	}
	return nil
}

func (r *fan) write(ctx context.Context, client int) error {
	n := r.next.Add(1)
	r.sent[n%remembered].Store(int64(time.Since(r.began)))
	err := r.Write(ctx, client, n)
	if err == nil {
		r.written.Add(1)
	}
	return err
}

// hear notes that a listener heard of a change.
func (r *fan) hear(listener int, n int64) {
	r.heard[listener].Add(1)
	now, sent := time.Since(r.began), time.Duration(r.sent[n%remembered].Load())
	if now >= r.warm && now < r.end {
		r.inside.Add(1)
	}
	if sent < r.warm {
		return
	}
	if r.next.Load()-n >= remembered {
		r.recorder.Fail("far_behind", fmt.Errorf("a subscriber is more than %d changes behind", remembered), 1)
		return
	}
	r.recorder.Record(listener, "", now-sent, 1)
}

// await gives the listeners time to hear of everything, and counts what they do not.
func (r *fan) await(ctx context.Context) {
	const look = 10 * time.Millisecond
	missing := r.missing()
	for began := time.Now(); missing > 0 && time.Since(began) < catchUp && ctx.Err() == nil; missing = r.missing() {
		time.Sleep(look)
	}
	if missing > 0 {
		r.recorder.Fail("missing", fmt.Errorf("subscribers did not hear of acknowledged changes within %v", catchUp), missing)
	}
}

func (r *fan) missing() int64 {
	written, missing := r.written.Load(), int64(0)
	for i := range r.heard {
		missing += max(0, written-r.heard[i].Load())
	}
	return missing
}

func (r *fan) report(writing measure.Result) Report {
	for kind, n := range writing.ErrorsByKind {
		r.recorder.Fail(kind, errors.New(writing.ErrorSamples[kind]), n)
	}
	return Report{
		Result: measure.Result{
			Summary: r.recorder.Summary(), Seconds: writing.Seconds,
			OpsPerSec: float64(r.inside.Load()) / writing.Seconds, Unsent: writing.Unsent,
		},
		ChangesPerSec: writing.OpsPerSec,
	}
}
