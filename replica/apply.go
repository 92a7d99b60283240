package replica

import (
	"bytes"
	"fmt"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/invariants"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/raftlog"
)

// apply folds committed entries and publishes once. An error stops the member.
func (r *Replica[D]) apply(entries []raftlog.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	var changes []*events.Change
	for i := range entries {
		e := &entries[i]
		if e.Conf != nil {
			r.conf = e.Conf
		}
		if len(e.Data) > 0 {
			took, err := r.applyEntry(e)
			if err != nil {
				return fmt.Errorf("replica: stream %s, log entry %d of term %d cannot take effect: %w", r.name, e.Index, e.Term, err)
			}
			changes = append(changes, took...)
		}
		r.applied, r.appliedTerm = e.Index, e.Term
		r.considerCheckpoint(e)
	}
	r.publish(changes)
	r.group.Applied(r.applied)
	if cp := r.install.staged; cp != nil && cp.Index <= r.applied {
		r.install.staged = nil // overtaken: do not keep its model alive
	}
	return nil
}

// applyEntry returns the changes that took effect.
func (r *Replica[D]) applyEntry(e *raftlog.Entry) ([]*events.Change, error) {
	if l := r.lead; l != nil && e.Term == l.term && len(l.proposed) > 0 && bytes.Equal(l.proposed[0].data, e.Data) {
		return r.applyOwn(e), nil
	}
	b, err := events.DecodeBatch(e.Data)
	if err != nil {
		return nil, err
	}
	if why := r.fence(b, e.Term); why != "" {
		r.fenced(e, why)
		return nil, nil
	}
	next, err := fold(r.state, b.Changes)
	if err != nil {
		return nil, err
	}
	r.state = next
	r.keepHistory(e, b.Changes)
	if r.lead != nil && r.lead.ready {
		r.resetLead() // not what this leader decided next
	}
	return b.Changes, nil
}

// fence says why a batch must not take effect; "" if it may.
func (r *Replica[D]) fence(b *events.Batch, term uint64) string {
	switch head := r.state.Head; {
	case b.Term != term:
		return fmt.Sprintf("it was decided in term %d", b.Term)
	case b.Previous != head.Digest:
		return fmt.Sprintf("it was decided after digest %s, the stream is at %s", b.Previous, head.Digest)
	case b.Stream != head.Stream:
		return fmt.Sprintf("it belongs to stream %s", events.StreamName(b.Stream))
	case b.Cluster != head.Cluster || b.RecoveryEpoch != head.RecoveryEpoch:
		return fmt.Sprintf("it belongs to cluster %s, recovery epoch %d", b.Cluster, b.RecoveryEpoch)
	}
	return ""
}

func (r *Replica[D]) fenced(e *raftlog.Entry, why string) {
	r.stats.Fenced++
	r.log.Error("log entry skipped by the fence", "index", e.Index, "term", e.Term, "reason", why)
}

// applyOwn makes the pending state the applied one: the entry is the oldest proposal
// of this leader, so it was folded when it was decided.
func (r *Replica[D]) applyOwn(e *raftlog.Entry) []*events.Change {
	l := r.lead
	b := l.proposed[0]
	if b.previous != r.state.Head.Digest {
		r.fenced(e, "the leader's own proposal was decided on another state")
		r.resetLead()
		return nil
	}
	l.proposed = l.proposed[1:]
	if invariants.Enabled {
		foldAgain(r.state, b.decisions, b.after)
	}
	changes := make([]*events.Change, len(b.decisions))
	for i := range b.decisions {
		d := &b.decisions[i]
		changes[i] = d.change
		r.answer(d.waiter.done, Answer{Reply: d.reply, Revision: d.change.Revision()})
	}
	r.state = b.after
	r.keepHistory(e, changes)
	l.changes -= len(b.decisions)
	l.bytes -= b.bytes
	return changes
}

// foldAgain checks that folding is the same wherever it happens.
func foldAgain[D projections.Domain[D]](before *projections.State[D], ds []decision, pending *projections.State[D]) {
	again := before
	for i := range ds {
		c := ds[i].change
		decoded, err := events.DecodeChange(c.Raw())
		invariants.Assert(err == nil, "change %d cannot be decoded: %v", c.Revision(), err)
		again = again.Fold(decoded)
		invariants.Assert(again.Head.Digest == ds[i].digest, "change %d: applied digest %s, pending digest %s", c.Revision(), again.Head.Digest, ds[i].digest)
	}
	invariants.Assert(again.Hash() == pending.Hash(), "revision %d: applied and pending model differ", again.Head.Revision)
}

// fold turns a *projections.FoldError, which folding panics with, into an error.
func fold[D projections.Domain[D]](s *projections.State[D], changes []*events.Change) (next *projections.State[D], err error) {
	defer func() {
		if p := recover(); p != nil {
			bug, ok := p.(*projections.FoldError)
			if !ok {
				panic(p)
			}
			err = bug
		}
	}()
	return s.FoldAll(changes), nil
}
