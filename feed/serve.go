package feed

import (
	"context"
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
	w := sub.feed.turns.enter(sub.cursors, clock)
	defer w.leave()
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		now := clock.Now()
		frame, wait, err := sub.Next(now)
		if err != nil {
			return err
		}
		if frame.content != nil {
			if err := send(frame); err != nil {
				return err
			}
			continue
		}
		if wait.Until.After(now) {
			w.pause(ctx, wait.Until, now, wait.Changed)
		}
	}
}
