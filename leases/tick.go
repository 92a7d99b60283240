package leases

import (
	"container/heap"
	"time"
)

// Tick returns the transitions to submit now: nodes whose lease ran out, in
// order of their deadlines, then offline nodes that beat, in order of their
// beats; at most MaxTransitionsPerTick, the rest follows with the next Tick.
// Call it more often than Options.MaxStep.
//
// Each transition has to be submitted once, by the leader of the same term,
// after Due was asked on the goroutine that decides. It ends by Fold of its
// event, or by Failed. While it is under way no other is handed out for the
// node, because a second one could commit late and undo what came between.
func (t *Table) Tick(now time.Duration) []Transition {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance(now)
	var out []Transition
	for len(t.expiries) > 0 && len(out) < MaxTransitionsPerTick {
		l := t.expiries[0]
		if l.queued > t.clock {
			break
		}
		if l.deadline > l.queued { // beats only move deadline; catch up here
			l.queued = l.deadline
			heap.Fix(&t.expiries, 0)
			continue
		}
		heap.Pop(&t.expiries)
		l.pending = given
		out = append(out, t.transition(l, false))
	}
	n := min(len(t.revivals), MaxTransitionsPerTick-len(out))
	for _, l := range t.revivals[:n] {
		l.pending = given
		out = append(out, t.transition(l, true))
	}
	if t.revivals = t.revivals[n:]; len(t.revivals) == 0 {
		t.revivals = nil
	}
	return out
}

func (t *Table) transition(l *lease, online bool) Transition {
	return Transition{NodeID: l.node.ID, Epoch: l.node.Epoch, Term: t.term, Online: online}
}

// Due reports whether a transition that Tick handed out is still to be made:
// the same leadership, the same registration, not folded, not failed.
func (t *Table) Due(tr Transition) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.due(tr) != nil
}

func (t *Table) due(tr Transition) *lease {
	l := t.nodes[tr.NodeID]
	if !t.leading || t.term != tr.Term || l == nil || l.node.Epoch != tr.Epoch ||
		l.pending != given || l.node.alive() == tr.Online {
		return nil
	}
	return l
}

// Failed says that a transition was not made and can never take effect any
// more: it was refused, or never proposed. If the outcome is unknown, say
// nothing: Fold or the next Lead settles it. A failed expiry is handed out
// again after Options.Interval, unless the node beats before; a failed revival
// follows the node's next beat after that time.
func (t *Table) Failed(tr Transition, now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance(now)
	l := t.due(tr)
	if l == nil {
		return
	}
	l.pending = none
	l.deadline = t.clock + t.options.Interval
	if l.node.alive() {
		l.queued = l.deadline
		heap.Push(&t.expiries, l)
	}
}

// expiries is a heap of leases by queued deadline, then by id, so that the order
// of transitions does not depend on the order of insertion.
type expiries []*lease

func (e expiries) Len() int { return len(e) }

func (e expiries) Less(i, j int) bool {
	if e[i].queued != e[j].queued {
		return e[i].queued < e[j].queued
	}
	return e[i].node.ID < e[j].node.ID
}

func (e expiries) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].index, e[j].index = i, j
}

// Push is for package heap.
func (e *expiries) Push(x any) {
	l := x.(*lease)
	l.index = len(*e)
	*e = append(*e, l)
}

// Pop is for package heap.
func (e *expiries) Pop() any {
	old := *e
	l := old[len(old)-1]
	old[len(old)-1] = nil
	l.index = -1
	*e = old[:len(old)-1]
	return l
}
