package workload

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heliosdb/metadata/internal/measure"
)

// bus hands numbers to listeners, each after a delay.
type bus struct {
	mu        sync.Mutex
	listeners []chan int64
	delay     time.Duration
	lose      func(listener int, n int64) bool
}

func (b *bus) listen(ctx context.Context, listener int, ready func(), heard func(int64)) error {
	own := make(chan int64, 10_000)
	b.mu.Lock()
	b.listeners = append(b.listeners, own)
	b.mu.Unlock()
	ready()
	for {
		select {
		case n := <-own:
			if b.lose == nil || !b.lose(listener, n) {
				heard(n)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *bus) write(_ context.Context, _ int, n int64) error {
	time.Sleep(b.delay)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.listeners {
		l <- n
	}
	return nil
}

func plan(rate float64) measure.Plan {
	return measure.Plan{Clients: 10, Rate: rate, WarmUp: 100 * time.Millisecond, Duration: 400 * time.Millisecond}
}

func (b *bus) fanOut(listeners int) FanOut {
	return FanOut{Listeners: listeners, Listen: b.listen, Write: b.write, Kind: Kind}
}

func TestFanOut(t *testing.T) {
	b := &bus{delay: 5 * time.Millisecond}
	report, err := b.fanOut(20).Run(t.Context(), plan(100))
	if err != nil {
		t.Fatal(err)
	}
	// At most 40 changes begin in the window (fewer on a machine that is busy), each heard
	// by 20, none before its 5 ms are over.
	if report.Count == 0 || report.Count > 820 || report.Count%20 != 0 || report.Errors != 0 {
		t.Errorf("%d heard and %d errors, want at most 800, a multiple of 20, and none: %v", report.Count, report.Errors, report.ErrorSamples)
	}
	if report.MinUS < 5000 {
		t.Errorf("latency %+v, want at least 5 ms", report.Latency)
	}
	if report.OpsPerSec > 2100 || report.ChangesPerSec > 105 {
		t.Errorf("%v heard and %v changed a second, want at most 2000 and 100", report.OpsPerSec, report.ChangesPerSec)
	}
}

func TestFanOutCountsWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bus{delay: time.Millisecond, lose: func(listener int, n int64) bool { return listener == 1 && n <= 3 }}
		report, err := b.fanOut(4).Run(t.Context(), plan(0)) // closed: its clock is the bubble's
		if err != nil {
			t.Fatal(err)
		}
		if report.ErrorsByKind["missing"] != 3 || report.Errors != 3 {
			t.Errorf("errors %v, want 3 missing", report.ErrorsByKind)
		}
	})
}

func TestFanOutNeedsItsListeners(t *testing.T) {
	f := FanOut{
		Listeners: 3, Kind: Kind, Write: func(context.Context, int, int64) error { return nil },
		Listen: func(ctx context.Context, listener int, ready func(), _ func(int64)) error {
			if listener == 2 {
				return errEnded
			}
			ready()
			<-ctx.Done()
			return ctx.Err()
		},
	}
	if _, err := f.Run(t.Context(), plan(10)); !errors.Is(err, errEnded) {
		t.Errorf("error %v, want the listener's", err)
	}
}
