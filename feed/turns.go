package feed

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"
)

// turns wakes subscribers for whom there is something, a few at a time and in the order
// in which they came to wait. If a change woke all at once, a thousand goroutines would be
// in front of those that carry the next change, the replica's among them; this way that
// one finds a processor, and whoever is woken late gets several changes in one frame.
//
// A subscriber has its turn until it has nothing more to send. While others wait, one that
// is stuck in sending keeps its turn from them for turnPatience, and once more at most. It is
// safe for concurrent use.
type turns struct {
	logs []*Log
	most int // turns at a time

	mu      sync.Mutex
	serving int
	quit    chan struct{} // ends the watching
	backlog chan struct{} // holds something if there is somebody ready without a turn

	waiting [][]*waiter // those who have seen everything, by follows
	ready   []*waiter   // those for whom there is something, oldest first
	// Turns that count: those of this generation, and of the one before. Older ones were
	// given up.
	running, before int
	generation      uint64
}

// waiter is a subscriber's place. Its fields are the turns' but for the timer.
type waiter struct {
	turns      *turns
	clock      Clock
	follows    int           // a bit for each Log
	turn       chan struct{} // holds something when it has been given a turn
	wanted     bool          // it waits, and takes a turn
	place      place
	holds      bool   // it has a turn
	generation uint64 // of it

	timer <-chan time.Time
	stop  func() bool
	due   time.Time // when the timer fires: never later than has been waited for
}

// place is where a waiter is listed; it may be listed though it does not wait, so that
// waking up for the time costs no search.
type place uint8

const (
	nowhere place = iota
	inWaiting
	inReady
)

func newTurns(logs []*Log) turns {
	return turns{logs: logs, most: max(minTurns, turnsPerCPU*runtime.GOMAXPROCS(0)), waiting: make([][]*waiter, 1<<len(logs))}
}

// enter returns the place of a subscriber. Leave it.
func (t *turns) enter(cursors []*cursor, clock Clock) *waiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.serving++; t.serving == 1 {
		t.quit, t.backlog = make(chan struct{}), make(chan struct{}, 1)
		for i, l := range t.logs {
			go t.watch(l, 1<<i, l.Changed(), t.quit)
		}
		go t.oversee(clock, t.backlog, t.quit)
	}
	w := &waiter{turns: t, clock: clock, turn: make(chan struct{}, 1)}
	for _, c := range cursors {
		w.follows |= 1 << c.index
	}
	return w
}

// leave gives up the place.
func (w *waiter) leave() {
	t := w.turns
	if w.timer != nil {
		w.stop()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	w.wanted = false
	if w.place == inWaiting {
		t.waiting[w.follows] = slices.DeleteFunc(t.waiting[w.follows], func(other *waiter) bool { return other == w })
	}
	t.giveBack(w)
	t.start()
	if t.serving--; t.serving == 0 {
		close(t.quit)
	}
}

// pause waits for a turn: until one of the channels is closed, and others had theirs.
// It also returns at a time and when the context ends, without a turn then.
func (w *waiter) pause(ctx context.Context, until, now time.Time, changed []<-chan struct{}) {
	w.setTimer(until, now)
	w.turns.await(w, changed)
	select {
	case <-w.turn:
		return
	case <-w.timer:
		w.timer = nil
	case <-ctx.Done():
	}
	w.turns.missed(w)
}

// setTimer keeps a timer that fires earlier than has to be waited for: setting it for
// each change that is sent costs more than waking up once in vain.
func (w *waiter) setTimer(until, now time.Time) {
	if w.timer != nil {
		if !w.due.After(until) {
			return
		}
		w.stop()
	}
	w.due = until
	w.timer, w.stop = w.clock.Timer(until.Sub(now))
}

// await ends a turn and queues for the next one.
func (t *turns) await(w *waiter, changed []<-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w.wanted = true
	if w.place == nowhere {
		if anyClosed(changed) {
			t.queue(w)
		} else {
			w.place = inWaiting
			t.waiting[w.follows] = append(t.waiting[w.follows], w)
		}
	}
	t.giveBack(w)
	t.start()
}

// missed ends the waiting of one that was not given a turn, or was just now.
func (t *turns) missed(w *waiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w.wanted = false
	if w.holds {
		<-w.turn
	}
}

func (t *turns) queue(w *waiter) {
	w.place = inReady
	t.ready = append(t.ready, w)
}

// giveBack ends a turn, if there is one and it still counts.
func (t *turns) giveBack(w *waiter) {
	switch {
	case !w.holds:
	case w.generation == t.generation:
		t.running--
	case w.generation+1 == t.generation:
		t.before--
	}
	w.holds = false
}

// start gives turns to those who are ready.
func (t *turns) start() {
	for t.running+t.before < t.most && len(t.ready) > 0 {
		w := t.ready[0]
		t.ready[0], t.ready = nil, t.ready[1:]
		w.place = nowhere
		if !w.wanted { // it left, or runs without a turn and will look again
			continue
		}
		w.wanted, w.holds, w.generation = false, true, t.generation
		t.running++
		w.turn <- struct{}{}
	}
	if len(t.ready) > 0 {
		select {
		case t.backlog <- struct{}{}:
		default:
		}
	}
}

// watch makes those ready who wait for a Log, whose bit is given. changed is the channel
// to begin with.
func (t *turns) watch(l *Log, bit int, changed, quit <-chan struct{}) {
	for {
		select {
		case <-changed:
		case <-quit:
			return
		}
		changed = l.Changed() // before the others are looked at: who waits for this one is not missed
		t.mu.Lock()
		for follows, waiting := range t.waiting {
			if follows&bit == 0 {
				continue
			}
			for _, w := range waiting {
				t.queue(w)
			}
			clear(waiting)
			t.waiting[follows] = waiting[:0]
		}
		t.start()
		t.mu.Unlock()
	}
}

// oversee gives up turns that do not end while others wait for one.
func (t *turns) oversee(clock Clock, backlog, quit <-chan struct{}) {
	for {
		select {
		case <-backlog:
		case <-quit:
			return
		}
		fired, stop := clock.Timer(turnPatience)
		select {
		case <-fired:
		case <-quit:
			stop()
			return
		}
		t.mu.Lock()
		t.generation++
		t.running, t.before = 0, t.running
		t.start()
		t.mu.Unlock()
	}
}

func anyClosed(channels []<-chan struct{}) bool {
	for _, c := range channels {
		select {
		case <-c:
			return true
		default:
		}
	}
	return false
}
