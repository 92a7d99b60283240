package backfill

import (
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/raftlog"
)

// Pace, in ticks of the driver, and limits.
const (
	// MaxPartBytes bounds the entries of one part, unless it is one.
	MaxPartBytes = 512 << 10
	// LookTicks is how often a Fill looks whether something is missing.
	LookTicks = 10
	// RestTicks is the rest after each part: members write for clients besides.
	RestTicks = 1
	// MinPauseTicks is the pause when no member has helped. It doubles up to MaxPauseTicks.
	MinPauseTicks = 10
	// MaxPauseTicks bounds that pause.
	MaxPauseTicks = 600
)

// Options of a Fill.
type Options struct {
	Group  raftlog.GroupID
	Origin history.Origin // of the stream
	Peers  []uint64       // the other members; none: nothing is ever filled in
}

// Request asks a member for the part of the history that ends right before a revision.
type Request struct {
	To       uint64
	Below    uint64
	MaxBytes int // of entries, unless it is one
}

// Output is what has to be done. Each part is answered by the method that it names.
type Output struct {
	Look  *uint64        // look at what the storage lacks from that revision on, see Look: Looked
	Ask   *Request       // ask a member: Answered or Failed
	Store []raftlog.Past // fill it into the storage: Stored
	Begun *Gap           // for people: it begins to fill in a gap
	Ended *Gap           // for people: that gap is filled in, or lies below the floor by now
}

// phase is what a Fill waits for.
type phase uint8

const (
	resting phase = iota // Tick
	looking              // Looked
	asking               // Answered or Failed
	storing              // Stored
)

// Fill fills in the history of one stream. See the package comment.
type Fill struct {
	o     Options
	phase phase
	floor uint64 // the oldest revision that is kept
	found Gap    // the gap as it was found
	left  Gap    // what is missing of it
	next  Gap    // what will be, once a part is stored

	peer   int // whom to ask
	misses int // members in a row that did not help
	rest   int // ticks
	pause  int // the next one
	out    Output
}

// New returns a Fill that begins by looking at the storage.
func New(o Options) *Fill {
	f := &Fill{o: o, pause: MinPauseTicks}
	f.proceed()
	return f
}

// Tick passes a tick. floor is the oldest revision that is kept, as the member knows it.
func (f *Fill) Tick(floor uint64) {
	f.floor = max(f.floor, floor)
	if f.phase != resting {
		return
	}
	if f.rest--; f.rest <= 0 {
		f.proceed()
	}
}

// Ready returns what has to be done next; false if there is nothing.
func (f *Fill) Ready() (Output, bool) {
	out := f.out
	f.out = Output{}
	return out, out.Look != nil || out.Ask != nil || out.Store != nil || out.Begun != nil || out.Ended != nil
}

// Looked takes what Look has returned.
func (f *Fill) Looked(g Gap, err error) {
	if f.phase != looking {
		return
	}
	switch {
	case err != nil:
		f.backOff()
	case g.none() || g.Last < f.floor:
		f.rest, f.phase = LookTicks, resting
	default:
		f.found, f.left = g, g
		f.out.Begun = &g
		f.proceed()
	}
}

// Answered takes a member's part. An error says what is wrong with it; then another
// member is asked.
func (f *Fill) Answered(from uint64, past []raftlog.Past) error {
	if f.phase != asking || from != f.o.Peers[f.peer] {
		return nil
	}
	fits, left, err := check(f.o, f.left, f.floor, past)
	if err != nil || len(fits) == 0 {
		f.missed()
		return err
	}
	if f.misses > 0 { // there is somebody who helps again
		f.misses, f.pause = 0, MinPauseTicks
	}
	f.next, f.out.Store, f.phase = left, fits, storing
	return nil
}

// Failed says that a member did not answer, or has nothing.
func (f *Fill) Failed(from uint64) {
	if f.phase == asking && from == f.o.Peers[f.peer] {
		f.missed()
	}
}

// Stored says how storing a part has ended. What did not fit had changed meanwhile.
func (f *Fill) Stored(err error) {
	if f.phase != storing {
		return
	}
	if err != nil {
		f.found, f.left = Gap{}, Gap{} // look again
		f.backOff()
		return
	}
	f.left, f.pause = f.next, MinPauseTicks
	f.rest, f.phase = RestTicks, resting
}

// proceed does what comes next: it asks for the rest of a gap, or looks for another one.
func (f *Fill) proceed() {
	if len(f.o.Peers) == 0 {
		return
	}
	if !f.left.none() && f.left.Last >= f.floor {
		f.phase = asking
		f.out.Ask = &Request{To: f.o.Peers[f.peer], Below: f.left.Last + 1, MaxBytes: MaxPartBytes}
		return
	}
	if !f.found.none() {
		ended := f.found
		f.out.Ended = &ended
		f.found, f.left = Gap{}, Gap{}
	}
	floor := f.floor
	f.phase, f.out.Look = looking, &floor
}

// missed goes on to the next member, and rests when none has helped.
func (f *Fill) missed() {
	f.misses++
	f.peer = (f.peer + 1) % len(f.o.Peers)
	if f.misses%len(f.o.Peers) == 0 {
		f.backOff()
		return
	}
	f.proceed()
}

func (f *Fill) backOff() {
	f.rest, f.phase = f.pause, resting
	f.pause = min(2*f.pause, MaxPauseTicks)
}
