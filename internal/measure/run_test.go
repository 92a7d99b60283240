package measure

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// bubbleClock is the clock of a synctest bubble: a sleep costs no time outside.
type bubbleClock struct{ began time.Time }

func (c bubbleClock) now() time.Duration { return time.Since(c.began) }

func (c bubbleClock) sleepUntil(ctx context.Context, at time.Duration) {
	select {
	case <-time.After(at - c.now()):
	case <-ctx.Done():
	}
}

// measured runs a plan in virtual time.
func measured(t *testing.T, plan Plan, op func(client int) Op) Result {
	t.Helper()
	var result Result
	synctest.Test(t, func(t *testing.T) {
		plan.clock = bubbleClock{time.Now()}
		var err error
		if result, err = Run(t.Context(), plan, op); err != nil {
			t.Fatal(err)
		}
	})
	return result
}

// takes is an operation of a fixed length.
func takes(d time.Duration) Op {
	return func(context.Context) (string, error) {
		time.Sleep(d)
		return "", nil
	}
}

// near reports whether a figure is what it should be, as exactly as histograms are.
func near(got, want float64) bool { return math.Abs(got-want) <= want*0.002 }

func TestClosedLoopCountsTheWindowOnly(t *testing.T) {
	plan := Plan{Clients: 4, WarmUp: 3 * time.Second, Duration: 10 * time.Second}
	r := measured(t, plan, func(int) Op { return takes(10 * time.Millisecond) })
	if !near(r.OpsPerSec, 400) || r.Seconds != 10 {
		t.Errorf("%v operations a second in %v s, want 400 in 10", r.OpsPerSec, r.Seconds)
	}
	if r.Count != 4000 || !near(r.P50US, 10_000) || !near(r.P999US, 10_000) || !near(r.MaxUS, 10_000) {
		t.Errorf("latencies %+v, want 4000 of 10 ms", r.Latency)
	}
	if r.Errors != 0 || r.Unsent != 0 {
		t.Errorf("%d errors, %d unsent; want none", r.Errors, r.Unsent)
	}
}

func TestOpenLoopKeepsItsRate(t *testing.T) {
	plan := Plan{Clients: 50, Rate: 200, WarmUp: time.Second, Duration: 5 * time.Second}
	r := measured(t, plan, func(int) Op { return takes(30 * time.Millisecond) })
	if r.Count != 1000 || !near(r.P50US, 30_000) || !near(r.MaxUS, 30_000) {
		t.Errorf("latencies %+v, want 1000 of 30 ms", r.Latency)
	}
	if !near(r.OpsPerSec, 200) {
		t.Errorf("%v operations a second, want 200", r.OpsPerSec)
	}
}

// TestOpenLoopCountsFromTheIntendedTime lets a service stall for a second: whoever
// counted from the actual sending would see one slow operation.
func TestOpenLoopCountsFromTheIntendedTime(t *testing.T) {
	calls := 0
	op := func(context.Context) (string, error) {
		if calls++; calls == 300 {
			time.Sleep(time.Second)
		}
		return "", nil
	}
	plan := Plan{Clients: 1, Rate: 100, Duration: 10 * time.Second}
	r := measured(t, plan, func(int) Op { return op })
	if r.Count != 1000 {
		t.Fatalf("%d operations, want 1000", r.Count)
	}
	// 100 operations were due in that second, each 10 ms later than the one before: they took
	// 1000, 990, 980 ... ms. A tenth of all, so the 99th percentile is a tenth below the top.
	if !near(r.P99US, 910_000) && !near(r.P99US, 900_000) {
		t.Errorf("p99 %v us, want about 900 ms", r.P99US)
	}
	if !near(r.MaxUS, 1e6) || r.P50US > 1 {
		t.Errorf("max %v us and p50 %v us, want 1 s and nothing", r.MaxUS, r.P50US)
	}
}

func TestOpenLoopCountsWhatItCouldNotSend(t *testing.T) {
	plan := Plan{Clients: 1, Rate: 10, Duration: 10 * time.Second}
	r := measured(t, plan, func(int) Op { return takes(time.Second) })
	// Ten a second are due, one a second is done.
	if r.Unsent != 90 || r.Count != 100 {
		t.Errorf("%d unsent of %d, want 90 of 100", r.Unsent, r.Count)
	}
	if !near(r.OpsPerSec, 0.9) && !near(r.OpsPerSec, 1) {
		t.Errorf("%v operations a second, want 1", r.OpsPerSec)
	}
	if r.P50US < 4e6 {
		t.Errorf("p50 %v us: the unsent are not counted with their age", r.P50US)
	}
}

func TestErrorsAreCountedByKind(t *testing.T) {
	calls := 0
	op := func(context.Context) (string, error) {
		time.Sleep(time.Millisecond)
		switch calls++; {
		case calls%10 == 0:
			return "", fmt.Errorf("call %d: %w", calls, errDown)
		case calls%25 == 0:
			return "", errors.New("other")
		}
		return "", nil
	}
	kind := func(err error) string {
		if errors.Is(err, errDown) {
			return "down"
		}
		return "other"
	}
	plan := Plan{Clients: 1, Rate: 100, Duration: time.Second, Kind: kind}
	r := measured(t, plan, func(int) Op { return op })
	if r.Errors != 12 || r.ErrorsByKind["down"] != 10 || r.ErrorsByKind["other"] != 2 {
		t.Errorf("%d errors: %v; want 10 down and 2 other", r.Errors, r.ErrorsByKind)
	}
	if r.ErrorSamples["down"] != "call 10: down" {
		t.Errorf("sample %q, want the first", r.ErrorSamples["down"])
	}
	if r.Count != 88 {
		t.Errorf("%d successes, want 88", r.Count)
	}
}

var errDown = errors.New("down")

func TestPartsAndRepeats(t *testing.T) {
	calls := 0
	op := func(context.Context) (string, error) {
		if calls++; calls%4 == 0 {
			time.Sleep(8 * time.Millisecond)
			return "write", nil
		}
		time.Sleep(4 * time.Millisecond)
		return "read", nil
	}
	plan := Plan{Clients: 1, Duration: 2 * time.Second, Repeat: 4}
	r := measured(t, plan, func(int) Op { return op })
	read, write := r.Parts["read"], r.Parts["write"]
	if read.Count != 1200 || write.Count != 400 || r.Count != 1600 {
		t.Errorf("%d reads and %d writes of %d, want 1200 and 400", read.Count, write.Count, r.Count)
	}
	if !near(read.P50US, 1000) || !near(write.P50US, 2000) {
		t.Errorf("p50 %v and %v us, want 1 and 2 ms", read.P50US, write.P50US)
	}
}

func TestObserver(t *testing.T) {
	var dues []time.Duration
	plan := Plan{Clients: 4, Rate: 10, WarmUp: time.Second, Duration: time.Second}
	plan.Observe = func(due, took time.Duration) {
		if took != 300*time.Millisecond {
			t.Errorf("due at %v it took %v, want 300 ms", due, took)
		}
		dues = append(dues, due)
	}
	measured(t, plan, func(int) Op { return takes(300 * time.Millisecond) })
	if len(dues) != 10 || dues[0] != time.Second || dues[9] != 1900*time.Millisecond {
		t.Errorf("observed %v, want 1 s to 1.9 s", dues)
	}
}

func TestOperationsThatDoNotEndAreEnded(t *testing.T) {
	op := func(ctx context.Context) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	}
	plan := Plan{Clients: 3, Duration: time.Second, Drain: 2 * time.Second}
	r := measured(t, plan, func(int) Op { return op })
	if r.Errors != 3 || r.Count != 0 {
		t.Errorf("%d errors and %d successes, want 3 and none", r.Errors, r.Count)
	}
}

func TestInterruptedRunHasNoResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		plan := Plan{Clients: 2, Duration: time.Minute, clock: bubbleClock{time.Now()}}
		if _, err := Run(ctx, plan, func(int) Op { return takes(time.Millisecond) }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the context's", err)
		}
	})
}

func TestProgress(t *testing.T) {
	var seen []Progress
	plan := Plan{Clients: 1, WarmUp: 2 * time.Second, Duration: 3500 * time.Millisecond, Progress: func(p Progress) { seen = append(seen, p) }}
	measured(t, plan, func(int) Op { return takes(10*time.Millisecond + time.Microsecond) })
	if len(seen) != 5 {
		t.Fatalf("%d reports, want 5", len(seen))
	}
	first, last := seen[0], seen[4]
	if !first.WarmingUp || last.WarmingUp || last.Elapsed != 5*time.Second || last.Total != 5500*time.Millisecond {
		t.Errorf("first %+v, last %+v", first, last)
	}
	if last.Rate < 98 || last.Rate > 101 {
		t.Errorf("rate %v, want about 100", last.Rate)
	}
}

func TestPlanLimits(t *testing.T) {
	ok := Plan{Clients: 1, Duration: time.Second}
	for name, change := range map[string]func(*Plan){
		"no clients":   func(p *Plan) { p.Clients = 0 },
		"many clients": func(p *Plan) { p.Clients = MaxClients + 1 },
		"no duration":  func(p *Plan) { p.Duration = 0 },
		"long":         func(p *Plan) { p.Duration = MaxDuration + 1 },
		"warm-up":      func(p *Plan) { p.WarmUp = -1 },
		"rate":         func(p *Plan) { p.Rate = -1 },
		"no rate":      func(p *Plan) { p.Rate = math.NaN() },
		"repeat":       func(p *Plan) { p.Repeat = -1 },
	} {
		plan := ok
		change(&plan)
		if _, err := Run(t.Context(), plan, func(int) Op { return takes(0) }); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestSystemClock runs on the machine's own time, shortly.
func TestSystemClock(t *testing.T) {
	plan := Plan{Clients: 2, Rate: 500, Duration: 100 * time.Millisecond}
	r, err := Run(t.Context(), plan, func(int) Op { return takes(0) })
	if err != nil {
		t.Fatal(err)
	}
	if r.Count != 50 {
		t.Errorf("%d operations, want the 50 that were due", r.Count)
	}
}
