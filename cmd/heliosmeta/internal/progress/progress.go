// Package progress tells people how far long work is: on a terminal by a bar that is drawn
// again in place, elsewhere by a line every few seconds. Short work says nothing. It writes
// to where it is told and reads the clock that it is given. A Bar may be used by several
// goroutines.
package progress

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	drawEvery = 100 * time.Millisecond // on a terminal
	lineEvery = 5 * time.Second        // elsewhere
	// width is how many cells the bar itself has.
	width = 30
)

// Bar shows how far something is.
type Bar struct {
	to       io.Writer
	terminal bool
	now      func() time.Time

	mu    sync.Mutex
	began time.Time // of the part under way
	told  time.Time // when something was shown last
	part  string
	first uint64 // of the part, when it was heard of first: what came before is no work
	drawn int    // cells of the line that stands there
}

// New returns a bar. Nothing is shown before something has taken a while.
func New(to io.Writer, terminal bool, now func() time.Time) *Bar {
	return &Bar{to: to, terminal: terminal, now: now, told: now()}
}

// Tell says that of a part, which has a name, so much is done of so much.
func (b *Bar) Tell(part string, done, last uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if part != b.part {
		b.part, b.began, b.first = part, now, done
	}
	every := lineEvery
	if b.terminal {
		every = drawEvery
	}
	if now.Sub(b.told) < every {
		return
	}
	b.told = now
	rate := 0.0
	if spent := now.Sub(b.began).Seconds(); spent > 0 {
		rate = float64(done-min(b.first, done)) / spent
	}
	share := 1.0
	if last > b.first {
		share = min(1, float64(done-min(b.first, done))/float64(last-b.first))
	}
	b.show(fmt.Sprintf("%s %d of %d (%.0f%%), %.0f/s", part, done, last, 100*share, rate), share)
}

// show draws the line, or writes it.
func (b *Bar) show(text string, share float64) {
	if !b.terminal {
		_, _ = fmt.Fprintln(b.to, text)
		return
	}
	full := int(share * width)
	line := "[" + strings.Repeat("=", full) + strings.Repeat(" ", width-full) + "] " + text
	_, _ = fmt.Fprint(b.to, "\r"+line+strings.Repeat(" ", max(0, b.drawn-len(line))))
	b.drawn = len(line)
}

// Clear takes the bar away, so that something else can be written there.
func (b *Bar) Clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.drawn > 0 {
		_, _ = fmt.Fprint(b.to, "\r"+strings.Repeat(" ", b.drawn)+"\r")
		b.drawn = 0
	}
}
