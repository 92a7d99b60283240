package simulation

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// end is one end of the network: a member by its id, a client behind firstClient.
type end uint64

const firstClient end = 1000

func clientEnd(client int) end { return firstClient + end(client) }

func (e end) String() string {
	if e >= firstClient {
		return fmt.Sprintf("c%d", uint64(e-firstClient))
	}
	return fmt.Sprintf("m%d", uint64(e))
}

// conditions are how bad the links are.
type conditions struct {
	loss, duplication float64
	delay             time.Duration // mean; each message has its own, so they overtake each other
	slow              float64       // part of the messages that takes slowBy times as long
}

const slowBy = 50

func drawConditions(rng *rand.Rand) conditions {
	c := conditions{delay: pick(rng, 300*time.Microsecond, time.Millisecond, 5*time.Millisecond, 20*time.Millisecond)}
	if rng.IntN(2) == 0 {
		c.loss = pick(rng, 0.01, 0.05, 0.1, 0.3)
	}
	if rng.IntN(2) == 0 {
		c.duplication = pick(rng, 0.02, 0.1, 0.5)
	}
	if rng.IntN(3) == 0 {
		c.slow = pick(rng, 0.01, 0.05, 0.2)
	}
	return c
}

// network is the links between all ends, one for each direction.
type network struct {
	w     *world
	calm  conditions // once faults are over
	cuts  map[[2]end]int
	loss  map[end]float64 // more of it, on all links of an end, for a while
	holds []func()        // ends all cuts
}

func newNetwork(w *world) *network {
	return &network{w: w, calm: conditions{delay: time.Millisecond}, cuts: map[[2]end]int{}, loss: map[end]float64{}}
}

func (n *network) conditions() conditions {
	if n.w.quiet {
		return n.calm
	}
	return n.w.plan.network
}

// cut stops all messages from one end to another until the cut is taken back. Cuts of
// one link add up.
func (n *network) cut(from, to end) (heal func()) {
	link := [2]end{from, to}
	n.cuts[link]++
	healed := false
	heal = func() {
		if !healed {
			healed = true
			n.cuts[link]--
		}
	}
	n.holds = append(n.holds, heal)
	return heal
}

// heal takes back all cuts.
func (n *network) heal() {
	for _, heal := range n.holds {
		heal()
	}
	n.holds = nil
	clear(n.loss)
}

func (n *network) isCut(from, to end) bool { return n.cuts[[2]end{from, to}] > 0 }

// delay draws how long a message takes.
func (n *network) delay() time.Duration {
	c, rng := n.conditions(), n.w.rng
	d := 50*time.Microsecond + around(rng, c.delay)
	if c.slow > 0 && rng.Float64() < c.slow {
		d *= slowBy
		n.w.fault(faultSlowLink)
	}
	return d
}

// send delivers a message once, more often, or never. deliver runs at the moment of
// each arrival. A message of which copies do harm that no network does (a command
// without a request id) is sent with once.
func (n *network) send(from, to end, once bool, deliver func()) {
	c, rng := n.conditions(), n.w.rng
	if n.isCut(from, to) {
		n.w.counts.add("partitioned messages", 1)
		return
	}
	if loss := max(c.loss, n.loss[from], n.loss[to]); loss > 0 && rng.Float64() < loss {
		n.w.fault(faultLoss)
		return
	}
	copies := 1
	if !once && c.duplication > 0 && rng.Float64() < c.duplication {
		n.w.fault(faultDuplication)
		copies = 2
	}
	for range copies {
		n.w.after(n.delay(), func() {
			if !n.isCut(from, to) {
				deliver()
			}
		})
	}
}
