package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
)

// A member may work long on a call about the past: it folds the changes of months. Such a call
// is waited for as long as its member answers anything else.

// long makes the attempts those of a call that a member may work long on. They are not hedged:
// a second member would do the same work.
func (t *tries) long() *tries {
	t.hedge, t.alive = 0, new(atomic.Int64)
	t.alive.Store(time.Now().UnixNano())
	return t
}

// isLong reports whether a member may work long on the call.
func (t *tries) isLong() bool { return t.alive != nil }

// patience is how long a call without a deadline of its own may take.
func (t *tries) patience() time.Duration {
	if t.isLong() {
		return t.client.opts.HistoryTimeout
	}
	return t.client.opts.Timeout
}

// abandoned reports whether no member has answered anything for as long as other calls wait.
func (t *tries) abandoned() bool {
	return t.isLong() && time.Since(time.Unix(0, t.alive.Load())) > t.client.opts.Timeout
}

// watched returns an attempt that ends when its member does not answer anything any more. Until
// it has taken as long as other attempts wait, nobody asks. stop has to be called when it is over.
func (t *tries) watched(a try) (_ try, stop func()) {
	ctx, cancel := context.WithCancelCause(a.ctx)
	a.ctx = ctx
	late := time.AfterFunc(t.attempt, func() {
		t.client.inBackground(func() { t.watch(ctx, a.at, cancel) })
	})
	return a, func() {
		late.Stop()
		cancel(nil)
	}
}

// silences is how many questions in a row a member may leave unanswered while a call waits for it.
const silences = 2

// watch asks a member for its status now and then until the attempt ends, and ends it when the
// member is silent.
func (t *tries) watch(ctx context.Context, at *endpoint, cancel context.CancelCauseFunc) {
	for silent, began := 0, time.Now(); ctx.Err() == nil && t.client.life.Err() == nil; {
		asked := time.Now()
		_, err := t.client.statusOf(ctx, at)
		switch {
		case ctx.Err() != nil:
			return
		case wasAnswered(err):
			silent, began = 0, time.Now()
			t.alive.Store(began.UnixNano())
			at.health.answered()
		default:
			if silent++; silent == 1 {
				began = asked
			}
		}
		if silent == silences {
			t.client.noteWaited(at, began)
			cancel(connect.NewError(connect.CodeUnavailable,
				fmt.Errorf("client: %s does not answer any more, not even for its status: %w", at.address, err)))
			return
		}
		sleep(ctx, t.attempt)
	}
}

// attend makes a call at a member, and keeps an eye on that if it may take long.
func attend[Res any](t *tries, a try, call attempt[Res]) (*Res, error) {
	if !t.isLong() {
		return call(a)
	}
	a, stop := t.watched(a)
	defer stop()
	res, err := call(a)
	if silent, ok := errors.AsType[*connect.Error](context.Cause(a.ctx)); ok && err != nil {
		return nil, silent
	}
	return res, err
}
