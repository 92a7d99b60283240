package chaos

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Network stands between members. Each member is reached through a door: an address that
// forwards to the one on which the member listens. Who dials is read from the hello with
// which every connection opens, so all members can be given the same list of addresses.
//
// What one member sends to another goes through their line, in whichever of the connections
// between them it travels. Members are counted from 0, their ids from 1. All methods are
// safe for concurrent use.
type Network struct {
	doors []*door
	lines [][]*line // by sender and receiver

	ctx    context.Context // ends with Close
	end    context.CancelFunc
	active sync.WaitGroup

	mu    sync.Mutex
	pairs map[*pair]struct{}
}

// NewNetwork returns a network with a door at doors[i] for the member that listens, now or
// later, at members[i]. A door refuses connections while its member does not listen, as the
// member's own port would.
func NewNetwork(doors, members []string) (*Network, error) {
	if len(doors) != len(members) {
		return nil, fmt.Errorf("chaos: %d doors for %d members; give one each", len(doors), len(members))
	}
	n := &Network{pairs: make(map[*pair]struct{})}
	n.ctx, n.end = context.WithCancel(context.Background())
	for i := range members {
		n.doors = append(n.doors, &door{network: n, member: i, address: doors[i], target: members[i], check: make(chan struct{}, 1)})
		row := make([]*line, len(members))
		for j := range row {
			row[j] = newLine()
		}
		n.lines = append(n.lines, row)
	}
	for _, d := range n.doors {
		n.active.Go(d.watch)
	}
	return n, nil
}

// Close breaks all connections and closes the doors.
func (n *Network) Close() {
	n.end()
	n.active.Wait()
}

// Hold keeps back whatever one member sends to another, new connections included, until
// Release: what a cable does that carries one direction only. Nothing is lost.
func (n *Network) Hold(from, to int) {
	n.lines[from][to].set(func(l *line) { l.held = true })
	n.doors[to].recheck()
}

// Release lets through what Hold kept back.
func (n *Network) Release(from, to int) {
	n.lines[from][to].set(func(l *line) { l.held = false })
	n.doors[to].recheck()
}

// Delay makes what one member sends to another arrive later, by least to most. Bytes of one
// connection keep their order.
func (n *Network) Delay(from, to int, least, most time.Duration) {
	n.lines[from][to].set(func(l *line) { l.least, l.most = least, most })
}

// Reset breaks the connections between two members, whoever dialled them. They may dial
// again at once.
func (n *Network) Reset(a, b int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for p := range n.pairs {
		if p.dialler == a && p.member == b || p.dialler == b && p.member == a {
			p.end()
		}
	}
}

// Shut makes a member's door refuse connections and breaks those that came in by it, as if
// the process behind it were gone. Connections that the member dials itself go on.
func (n *Network) Shut(to int) {
	n.doors[to].setShut(true)
	n.mu.Lock()
	defer n.mu.Unlock()
	for p := range n.pairs {
		if p.member == to {
			p.end()
		}
	}
}

// Open ends Shut.
func (n *Network) Open(to int) { n.doors[to].setShut(false) }

// Heal ends everything that the methods above began.
func (n *Network) Heal() {
	for from := range n.lines {
		for to := range n.lines {
			n.lines[from][to].set(func(l *line) { l.held, l.least, l.most = false, 0, 0 })
		}
	}
	for i := range n.doors {
		n.Open(i)
		n.doors[i].recheck()
	}
}

// held reports whether something on its way to a member is held.
func (n *Network) held(to int) bool {
	for from := range n.lines {
		if n.lines[from][to].isHeld() {
			return true
		}
	}
	return false
}
