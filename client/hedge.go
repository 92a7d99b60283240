package client

import (
	"context"
	"sync/atomic"
	"time"
)

// What hedging may cost: a hedge for so many reads, and so many at once.
const (
	readsPerHedge = 10
	hedgesAtOnce  = 10
)

// hedging bounds how many reads are made twice: where all members are slow, hedges would make
// them slower.
type hedging struct{ spent atomic.Int64 }

// earn counts a read.
func (h *hedging) earn() {
	if h.spent.Load() > 0 {
		h.spent.Add(-1)
	}
}

// spend reports whether another read may be made twice.
func (h *hedging) spend() bool {
	if h.spent.Load() > (hedgesAtOnce-1)*readsPerHedge {
		return false
	}
	h.spent.Add(readsPerHedge)
	return true
}

// hedged makes one attempt of a call, and if it is a read that is to be hedged, another one
// at a second endpoint when the first is late.
func hedged[Res any](ctx context.Context, t *tries, began time.Time, call attempt[Res]) (*Res, error) {
	if t.hedge > 0 {
		t.client.hedging.earn()
		if second := t.client.answering((t.index + 1) % len(t.client.endpoints)); second != t.index {
			return race(ctx, t, began, second, call)
		}
	}
	return once(t, t.try(ctx, t.index, began), call)
}

// race makes one attempt, and a second one elsewhere if the first is not answered in time.
// The first answer counts; an error that another attempt may change does not, as long as the
// other may still answer.
func race[Res any](ctx context.Context, t *tries, began time.Time, second int, call attempt[Res]) (*Res, error) {
	type outcome struct {
		res *Res
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the slower one
	answers := make(chan outcome, 2)
	ask := func(index int, began time.Time) bool {
		a := t.try(ctx, index, began)
		return t.client.inBackground(func() {
			res, err := once(t, a, call)
			answers <- outcome{res, err}
		})
	}
	if !ask(t.index, began) {
		return nil, errClientClosed
	}
	late := time.NewTimer(t.hedge)
	defer late.Stop()
	for asked := 1; ; {
		select {
		case a := <-answers:
			asked--
			if _, again := retryable(a.err); a.err == nil || !again && !isAboutEndpoint(a.err) || asked == 0 {
				return a.res, a.err
			}
		case <-late.C:
			if t.client.hedging.spend() && ask(second, time.Now()) {
				asked++
				t.client.metrics.hedges.Add(1)
			}
		}
	}
}
