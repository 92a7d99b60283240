package chaos

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// line is one direction between two members.
type line struct {
	mu          sync.Mutex
	held        bool
	least, most time.Duration // bounds of the delay
	changed     chan struct{} // closed and replaced by set
}

func newLine() *line { return &line{changed: make(chan struct{})} }

func (l *line) set(change func(*line)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *line) isHeld() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

// delay draws for how long the next bytes are on their way.
func (l *line) delay() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.most <= l.least {
		return l.least
	}
	return l.least + rand.N(l.most-l.least)
}

// pass waits while the line is held. It returns false if the context ends first.
func (l *line) pass(ctx context.Context) bool {
	for {
		l.mu.Lock()
		held, changed := l.held, l.changed
		l.mu.Unlock()
		if !held {
			return ctx.Err() == nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}
