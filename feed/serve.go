package feed

import (
	"context"
	"reflect"
	"time"
)

// Clock is the time that Serve lives in.
type Clock interface {
	// Now returns the time, with a monotonic reading if the clock has one.
	Now() time.Time
	// Timer returns a channel that receives after d, and a function that
	// releases the timer before.
	Timer(d time.Duration) (fired <-chan time.Time, stop func() bool)
}

// Serve sends a subscription's frames until the context ends, send fails or the
// subscription is over, returns why, and closes the subscription. It never
// returns nil. send blocks as long as the subscriber likes: nobody waits for it
// but this goroutine. It has to end when the context does.
func Serve(ctx context.Context, sub *Subscription, send func(Frame) error, clock Clock) error {
	defer sub.Close()
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		now := clock.Now()
		frame, wait, err := sub.Next(now)
		if err != nil {
			return err
		}
		if frame.Message() != nil {
			if err := send(frame); err != nil {
				return err
			}
			continue
		}
		if d := wait.Until.Sub(now); d > 0 {
			pause(ctx, wait.Changed, d, clock)
		}
	}
}

// pause returns when a channel is closed, d is over or the context ends.
func pause(ctx context.Context, changed []<-chan struct{}, d time.Duration, clock Clock) {
	fired, stop := clock.Timer(d)
	defer stop()
	cases := make([]reflect.SelectCase, 0, len(changed)+2)
	add := func(channel any) {
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(channel)})
	}
	add(ctx.Done())
	add(fired)
	for _, c := range changed {
		add(c)
	}
	reflect.Select(cases)
}
