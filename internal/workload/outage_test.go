package workload

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var quick = Outage{Every: 10 * time.Millisecond, Lead: 100 * time.Millisecond, Limit: 5 * time.Second}

func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var back atomic.Int64 // unix nanoseconds; 0: nothing is broken
		write := func(ctx context.Context) error {
			if at := back.Load(); at > 0 {
				if wait := time.Until(time.Unix(0, at)); wait > 0 {
					// Some are refused at once, some hang.
					if wait%(20*time.Millisecond) < 10*time.Millisecond {
						return errEnded
					}
					return errors.Join(sleep(ctx, time.Hour), errEnded)
				}
			}
			return sleep(ctx, 3*time.Millisecond)
		}
		took, err := quick.Measure(t.Context(), write, func() error {
			back.Store(time.Now().Add(250 * time.Millisecond).UnixNano())
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		// The first probe behind the end of the outage, and its own 3 ms.
		if took < 253*time.Millisecond || took > 264*time.Millisecond {
			t.Errorf("%v, want 253 to 263 ms", took)
		}
	})
}

// TestOutageIgnoresWhatWasSentBefore has writes under way that the dying leader answers.
func TestOutageIgnoresWhatWasSentBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		write := func(ctx context.Context) error {
			if time.Since(began) < 120*time.Millisecond {
				return sleep(ctx, 30*time.Millisecond) // the last ones end behind the fault
			}
			return sleep(ctx, 400*time.Millisecond)
		}
		took, err := quick.Measure(t.Context(), write, func() error { time.Sleep(20 * time.Millisecond); return nil })
		if err != nil || took < 400*time.Millisecond {
			t.Errorf("%v, %v; want at least 400 ms", took, err)
		}
	})
}

func TestOutageWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		write := func(context.Context) error {
			if broken.Load() {
				return errEnded
			}
			return nil
		}
		if _, err := quick.Measure(t.Context(), write, func() error { broken.Store(true); return nil }); err == nil {
			t.Error("an outage without end was measured")
		}
		if _, err := quick.Measure(t.Context(), write, func() error { return nil }); err == nil {
			t.Error("a fault was made though nothing worked before")
		}
		broken.Store(false)
		if _, err := quick.Measure(t.Context(), write, func() error { return errEnded }); !errors.Is(err, errEnded) {
			t.Errorf("error %v, want that of the fault", err)
		}
	})
}
