package simulation

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/client/follow"
	"github.com/heliosdb/metadata/client/session"
	"github.com/heliosdb/metadata/internal/consistency"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// node is a process of the database that is registered, as the Go client does it, with
// the client's own step machine. Now and then it vanishes without a word, leaves,
// or is paused; then it, or its successor, begins again. Its clock runs faster or slower.
type node struct {
	c    *clients
	link int
	id   string
	rate float64 // of its clock

	number  int
	run     int // of the process; what belongs to an earlier one does not count
	machine *session.Machine
	record  *consistency.Session
	alive   bool // as recorded last
	timer   int  // counts the timers set; only the latest counts
	paused  bool
	missed  []func() // answers that came while it was paused
}

// Rates of a node's clock; the machine allows for a fifth.
var nodeRates = []float64{1, 1, 0.85, 1.15}

func newNode(c *clients, link int, id string) *node {
	return &node{c: c, link: link, id: id, rate: pick(c.w.rng, nodeRates...)}
}

// local is the node's clock.
func (n *node) local() time.Duration { return time.Duration(float64(n.c.w.now) * n.rate) }

// truly is when the node's clock shows a time, rounded up.
func (n *node) truly(local time.Duration) time.Duration {
	return time.Duration(float64(local)/n.rate) + 1
}

// begin starts a process.
func (n *node) begin() {
	w := n.c.w
	n.run++
	n.number, n.paused, n.missed, n.alive = n.c.number(), false, nil, false
	kind := pick(w.rng, session.Leave, session.Drain, session.Stay)
	m, err := session.New(session.Options{
		Node: &metadatav1.NodeInfo{
			NodeId: n.id, Addr: fmt.Sprintf("%s:%d", n.id, 1000+n.run), NodeType: metadatav1.NodeType_NODE_TYPE_STORAGE,
			Incarnation: fmt.Sprint("run ", n.run),
		},
		Judge: follow.JudgeFailure, NewID: w.newID, Departure: kind, Patience: time.Second,
	})
	if err != nil {
		w.violate("session", "node %s: %v", n.id, err)
		return
	}
	n.machine, n.record = m, n.c.history.Session(n.number, n.id)
	n.tick()
	n.meetAccident()
}

// meetAccident has something happen to the process some time.
func (n *node) meetAccident() {
	w, run := n.c.w, n.run
	w.after(around(w.rng, 25*time.Second), func() {
		if n.run != run || n.c.settling {
			return
		}
		switch w.rng.IntN(4) {
		case 0:
			w.counts.add("nodes vanished", 1)
			n.record.Fenced(w.now)
			n.c.w.after(around(w.rng, 2*time.Second), n.begin)
			n.run++
		case 1:
			w.counts.add("nodes left", 1)
			n.send(n.machine.Close(n.local()))
			n.noteState()
			n.tick()
		default:
			w.counts.add("nodes paused", 1)
			n.pause(around(w.rng, 3*time.Second))
		}
		n.meetAccident()
	})
}

// pause stops the process for a while; its clock runs on.
func (n *node) pause(d time.Duration) {
	if n.paused {
		return
	}
	run := n.run
	n.paused = true
	n.c.w.after(d, func() {
		if n.run != run {
			return
		}
		n.paused = false
		missed := n.missed
		n.missed = nil
		for _, f := range missed {
			f()
		}
		n.tick()
	})
}

// tick lets the machine do what is due, and sets the timer for what comes next.
func (n *node) tick() {
	if n.paused {
		return
	}
	n.send(n.machine.Tick(n.local()))
	n.noteState()
	at, ok := n.machine.Next()
	if !ok {
		n.over()
		return
	}
	run := n.run
	n.timer++
	timer := n.timer
	n.c.w.after(n.truly(at)-n.c.w.now, func() {
		if n.run == run && n.timer == timer {
			n.tick()
		}
	})
}

// over begins another process when one has ended.
func (n *node) over() {
	run := n.run
	n.c.w.after(around(n.c.w.rng, time.Second), func() {
		if n.run == run && !n.c.settling {
			n.begin()
		}
	})
}

// send sends what the machine asks for. Requests that share a request id are one write
// in the history.
func (n *node) send(requests []session.Request) {
	w, run := n.c.w, n.run
	for _, r := range requests {
		to := n.c.anyMember()
		o := n.c.history.Begin(n.number, to, r.Message, w.now)
		if isCommand(r.Message) && w.plan.network.duplication > 0 {
			o.Retry(to)
		}
		w.call(n.link, to, r.Message, 2*time.Second, func(reply proto.Message, err error) {
			o.End(reply, err, w.now)
			n.c.requests.Learn(o)
			if n.run != run {
				return
			}
			heard := func() {
				n.send(n.machine.Answered(n.local(), r.Seq, reply, err))
				n.noteState()
				n.tick()
			}
			if n.paused {
				n.missed = append(n.missed, heard)
				return
			}
			heard()
		})
	}
}

// noteState records for how long the node thinks itself alive.
func (n *node) noteState() {
	s, now := n.machine.State(n.local()), n.c.w.now
	switch {
	case s.Phase == session.Joined:
		n.record.Alive(s.Epoch, now, n.truly(s.Until))
		n.alive = true
	case n.alive:
		n.record.Fenced(now)
		n.alive = false
	}
}
