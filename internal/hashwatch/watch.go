// Package hashwatch decides, for one member, who has another model than the others.
//
// Equal logs give equal checkpoints. Members tell each other the hashes of those that
// they wrote; a Watch compares them with its own at equal places (stream, revision,
// log index, format). It raises an alarm at each difference, and condemns its own
// member, never another one, if enough others agree with one another and not with it.
//
// It is a step machine: it starts nothing, reads no clock and sends nothing. Time
// comes in as rounds, and a driver asks the members that a round names. All methods may
// be called from any goroutine.
//
// It refuses to judge by what proves nothing: members of different builds (each may have
// a bug of its own, and an upgrade must not stop one member after the other), hashes from before
// a quarantine, a member that says two things of one place. What others send is bounded
// by the limits below.
package hashwatch

import (
	"fmt"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Limits.
const (
	// KeepHashes is how many own checkpoints of each stream are remembered.
	KeepHashes = 16
	// MaxReported bounds the checkpoints of a report: this life's and the one's before.
	MaxReported = 2 * streams * KeepHashes
	// MaxTextBytes bounds the format and the build of a reported checkpoint.
	MaxTextBytes = 256
	// MaxDivergences is how many differences are remembered of each member: one for each own
	// checkpoint at most, and so many later ones put out older ones.
	MaxDivergences = streams * KeepHashes
	// MaxBackOff is how many rounds at most a member is not asked that keeps failing.
	MaxBackOff = 8

	streams   = 2
	hashBytes = 32
)

// Rounds for which something is remembered.
const (
	keepPast       = 12  // hashes from before a quarantine, for others
	keepDivergence = 720 // a difference that is gone, for status
)

// Options of a Watch.
type Options struct {
	Member  uint64
	Members []uint64 // all, this one included
	// Build identifies the program that this member runs. Nobody is condemned by a
	// comparison of different builds, or of one that is not known (empty).
	Build string
}

// Output is what a driver has to do.
type Output struct {
	Ask    []uint64                 // report to Reported or Failed, once each
	Alarms []*metadatav1.Divergence // seen for the first time
	// Condemned says why this member must stop serving; empty: it need not.
	Condemned string
}

// Watch is one member's. Its zero value is not usable, see New.
type Watch struct {
	o  Options
	mu sync.Mutex

	round uint64
	own   map[metadatav1.Stream][]*metadatav1.CheckpointHash
	peers map[uint64]*peer

	past      []*metadatav1.CheckpointHash // of the life before the last quarantine
	pastUntil uint64                       // round
	found     map[difference]*divergence
	total     uint64
}

// peer is what is known of another member.
type peer struct {
	asked    bool
	next     uint64 // round of the next question
	failures uint64
	votes    map[place]vote // of its last report
}

// place is where checkpoints of sound members are equal.
type place struct {
	stream          metadatav1.Stream
	revision, index uint64
	format          string
}

type vote struct {
	hash, build string
	past        bool // it shows what happened, and is no vote
	torn        bool // it said two things
}

func placeOf(c *metadatav1.CheckpointHash) place {
	return place{c.GetStream(), c.GetRevision(), c.GetIndex(), c.GetFormat()}
}

// New returns the watch of a member that has written nothing yet.
func New(o Options) *Watch {
	w := &Watch{o: o, found: make(map[difference]*divergence)}
	w.reset()
	return w
}

func (w *Watch) reset() {
	w.own, w.peers = make(map[metadatav1.Stream][]*metadatav1.CheckpointHash), make(map[uint64]*peer)
	for _, id := range w.o.Members {
		if id != w.o.Member {
			w.peers[id] = &peer{next: w.round + 1}
		}
	}
}

// Begin begins a new life after a quarantine: what was written before is not this
// model's. Others hear of it for a while, to see what happened.
func (w *Watch) Begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.past = nil
	for _, c := range w.current() {
		c = proto.CloneOf(c)
		c.Past = true
		w.past = append(w.past, c)
	}
	w.pastUntil = w.round + keepPast
	w.reset()
}

// Wrote takes a checkpoint that this member has written, whose bytes depend on a
// format. It is kept; its build is set.
func (w *Watch) Wrote(c *metadatav1.CheckpointHash) Output {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.Build = w.o.Build
	s := c.GetStream()
	w.own[s] = append(w.own[s], c)
	w.own[s] = w.own[s][max(0, len(w.own[s])-KeepHashes):]
	return w.judge()
}

// Tick begins a round.
func (w *Watch) Tick() Output {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.round++
	w.expire()
	var out Output
	for _, id := range w.o.Members {
		if p := w.peers[id]; p != nil && !p.asked && w.round >= p.next {
			p.asked = true
			out.Ask = append(out.Ask, id)
		}
	}
	return out
}

// Reported takes the answer of a member that was asked. An error says what is wrong
// with it; it then counts as none.
func (w *Watch) Reported(from uint64, report *metadatav1.CheckpointHashes) (Output, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.peers[from]
	if p == nil || !p.asked {
		return Output{}, fmt.Errorf("hashwatch: member %d was not asked", from)
	}
	votes, err := votesOf(report)
	if err != nil {
		p.fail(w.round)
		return Output{}, fmt.Errorf("hashwatch: report of member %d: %w", from, err)
	}
	p.asked, p.failures, p.next, p.votes = false, 0, w.round+1, votes
	return w.judge(), nil
}

// Failed says that a member that was asked did not answer. What it said before counts
// no more, and it is asked again after more and more rounds.
func (w *Watch) Failed(from uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.peers[from]; p != nil && p.asked {
		p.fail(w.round)
	}
}

func (p *peer) fail(round uint64) {
	p.asked, p.votes = false, nil
	p.next = round + min(uint64(1)<<min(p.failures, 10), MaxBackOff)
	p.failures++
}

// votesOf reads a report: one vote for each place.
func votesOf(report *metadatav1.CheckpointHashes) (map[place]vote, error) {
	if n := len(report.GetCheckpoints()); n > MaxReported {
		return nil, fmt.Errorf("%d checkpoints, the limit MaxReported is %d", n, MaxReported)
	}
	votes := make(map[place]vote)
	for _, c := range report.GetCheckpoints() {
		if len(c.GetHash()) != hashBytes {
			return nil, fmt.Errorf("a hash of %d bytes, not %d", len(c.GetHash()), hashBytes)
		}
		if n := max(len(c.GetFormat()), len(c.GetBuild())); n > MaxTextBytes {
			return nil, fmt.Errorf("a text of %d bytes, the limit MaxTextBytes is %d", n, MaxTextBytes)
		}
		at, v := placeOf(c), vote{hash: string(c.GetHash()), build: c.GetBuild(), past: c.GetPast()}
		switch before, ok := votes[at]; {
		case !ok || (before.past && !v.past):
			votes[at] = v
		case before.past == v.past && (before.hash != v.hash || before.build != v.build):
			before.torn = true
			votes[at] = before
		}
	}
	return votes, nil
}

// current returns the checkpoints of this life.
func (w *Watch) current() (all []*metadatav1.CheckpointHash) {
	for s := range metadatav1.Stream(streams + 1) {
		all = append(all, w.own[s]...)
	}
	return all
}

// Report returns what this member tells others.
func (w *Watch) Report() *metadatav1.CheckpointHashes {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.current()
	if w.round < w.pastUntil {
		all = append(all, w.past...)
	}
	return &metadatav1.CheckpointHashes{Checkpoints: slices.Clone(all)}
}
