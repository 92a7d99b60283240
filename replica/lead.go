package replica

import (
	"fmt"
	"runtime/debug"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/raftlog"
)

// lead is what a member has only while it leads, in one term.
//
// The pending model is the applied one plus, in order, the changes of proposed and
// those of gathered. It exists once the term's own empty entry is applied: then
// everything that earlier terms left in the log is in the applied model.
type lead[D projections.Domain[D]] struct {
	term  uint64
	ready bool
	state *projections.State[D] // pending; valid when ready

	early    []Request     // arrived before ready
	gathered []decision[D] // not yet proposed
	proposed []proposal[D] // in the log, oldest first
	changes  int           // decisions in gathered and proposed
	bytes    int           // of their changes

	// Group commit without a timer: while a proposal is on its way into the own log,
	// decisions gather; its completion proposes them all.
	ungated bool           // proposed, but not yet in a Write
	gate    *raftlog.Write // the Write that the last proposal is in
}

// decision is a change in the pending model.
type decision[D projections.Domain[D]] struct {
	change *events.Change
	state  *projections.State[D] // after it
	waiter waiter
	reply  proto.Message
}

// proposal is a batch in the log, in flight.
type proposal[D projections.Domain[D]] struct {
	data      []byte
	previous  events.Digest
	decisions []decision[D]
}

// waiter is who gets told.
type waiter struct {
	requestID string
	proposed  bool
	done      func(Answer)
}

func (l *lead[D]) count() int { return len(l.early) + l.changes }

// requestID is what a client retries with.
func (q *Request) requestID() string {
	if id := q.Env.RequestID; id != "" {
		return id
	}
	return commands.WriteOptionsOf(q.Command).GetRequestId()
}

// Submit takes a command. Its Done is called inside a later Ready.
func (r *Replica[D]) Submit(q Request) {
	refuse := func(err error) { r.answer(q.Done, Answer{Err: err}) }
	l := r.lead
	switch {
	case r.failed != nil || r.drain.on:
		refuse(r.stopping())
	case l == nil:
		refuse(r.notLeading())
	case q.Term != 0 && q.Term != l.term:
		refuse(r.noLeader(fmt.Sprintf("the command rests on term %d, this is term %d", q.Term, l.term)))
	case r.diskLow:
		refuse(r.diskFull())
	case l.count() >= r.cfg.MaxPending:
		refuse(r.limitReached("replica.MaxPending", r.cfg.MaxPending, fmt.Sprintf("%d changes in flight", l.count())))
	case l.bytes >= r.cfg.MaxPendingBytes:
		refuse(r.limitReached("replica.MaxPendingBytes", r.cfg.MaxPendingBytes, fmt.Sprintf("%d bytes of changes in flight", l.bytes)))
	case r.reads.count() >= r.cfg.MaxWaiting:
		refuse(r.limitReached("replica.MaxWaiting", r.cfg.MaxWaiting, fmt.Sprintf("%d calls waiting", r.reads.count())))
	case !l.ready:
		l.early = append(l.early, q)
	default:
		r.decide(q)
	}
}

func (r *Replica[D]) answer(done func(Answer), a Answer) {
	r.answers = append(r.answers, func() { done(a) })
}

// decide carries out a command on the pending model. A change is folded into it at
// once; anything else is an answer that waits for what it saw.
func (r *Replica[D]) decide(q Request) {
	l := r.lead
	decided, next, err := r.tryDecide(q)
	if next != nil {
		d := decision[D]{change: decided.Change, state: next, reply: decided.Reply,
			waiter: waiter{requestID: q.requestID(), done: q.Done}}
		l.state = next
		l.gathered = append(l.gathered, d)
		l.changes++
		l.bytes += len(d.change.Raw())
		return
	}
	seen := l.state.Head.Revision
	late := reader{since: r.ticks, patient: true, term: l.term, need: seen}
	if err == nil && decided.Deduplicated && seen > r.state.Head.Revision {
		late.unknown = q.requestID() // its first attempt may be among what is in flight
	}
	late.done = func(lost error) {
		switch {
		case lost != nil:
			q.Done(Answer{Err: lost})
		case err != nil:
			q.Done(Answer{Err: err, Revision: seen})
		default:
			q.Done(Answer{Reply: decided.Reply, Revision: seen})
		}
	}
	r.reads.waiting = append(r.reads.waiting, late)
}

// tryDecide returns the decision and, if it is to be proposed, the model after it. A
// panic on the way is a bug, but nothing has happened yet: models are immutable and
// the log has not seen the change. So it is answered instead of taking down one
// leader after the other as the client retries.
func (r *Replica[D]) tryDecide(q Request) (d commands.Decision, next *projections.State[D], err error) {
	defer func() {
		if p := recover(); p != nil {
			r.stats.Panicked++
			r.log.Error("deciding a command panicked", "command", proto.MessageName(q.Command), "panic", p, "stack", string(debug.Stack()))
			d, next = commands.Decision{}, nil
			err = r.internal("deciding %s failed: please report this bug: %v", proto.MessageName(q.Command), p)
		}
	}()
	d, err = r.cfg.Decide(r.lead.state, q.Env, q.Command)
	if err != nil || d.Change == nil {
		return d, nil, err
	}
	return d, r.lead.state.Fold(d.Change), nil
}

// takeOver makes a leader decide once its own term's empty entry is applied.
func (r *Replica[D]) takeOver() {
	l := r.lead
	if l == nil || l.ready || r.appliedTerm != l.term {
		return
	}
	l.ready, l.state = true, r.state
	r.out.Leading = &Leading{Term: l.term, Now: true}
	early := l.early
	l.early = nil
	for _, q := range early {
		if q.Term != 0 && q.Term != l.term {
			r.answer(q.Done, Answer{Err: r.noLeader("leadership changed")})
			continue
		}
		r.decide(q)
	}
}

// loseLead drops the pending model and fails who waits on it.
func (r *Replica[D]) loseLead() {
	term := r.lead.term
	if r.lead.ready {
		r.out.Leading = &Leading{Term: term}
	}
	r.drop(func(q *waiter) error {
		if q.proposed {
			return r.outcomeUnknown(q.requestID)
		}
		return r.noLeader("leadership was lost before the change was proposed")
	})
	r.lead = nil
	r.failReads(func(q *reader) bool { return q.term != 0 }, func(q *reader) error {
		if q.unknown != "" {
			return r.outcomeUnknown(q.unknown)
		}
		return r.noLeader("leadership was lost before the answer was certain")
	})
}

// drop forgets all decisions and tells their waiters why.
func (r *Replica[D]) drop(why func(*waiter) error) {
	l := r.lead
	if l == nil {
		return
	}
	for _, q := range l.early {
		r.answer(q.Done, Answer{Err: why(&waiter{requestID: q.requestID()})})
	}
	for _, p := range l.proposed {
		r.forget(p.decisions, why)
	}
	r.forget(l.gathered, why)
	l.early, l.proposed, l.gathered = nil, nil, nil
	l.changes, l.bytes = 0, 0
}

func (r *Replica[D]) forget(ds []decision[D], why func(*waiter) error) {
	for i := range ds {
		r.answer(ds[i].waiter.done, Answer{Err: why(&ds[i].waiter)})
	}
}

// resetLead starts the pending model anew from the applied one: what was in flight
// can no longer take effect, because the fence stops it.
func (r *Replica[D]) resetLead() {
	why := func() error { return r.noLeader("the state it was decided on was overtaken") }
	r.drop(func(*waiter) error { return why() })
	r.failReads(func(q *reader) bool { return q.term != 0 && q.decided() }, func(*reader) error { return why() })
	r.lead.state = r.state
}

// propose puts what has gathered into the log, as few entries as possible, unless
// the one before is still on its way to the own disk.
func (r *Replica[D]) propose() bool {
	l := r.lead
	if l == nil || l.ungated || l.gate != nil || len(l.gathered) == 0 {
		return false
	}
	for len(l.gathered) > 0 {
		n := nextBatch(l.gathered)
		if err := r.proposeBatch(l.gathered[:n:n]); err != nil {
			r.forgetGathered(err)
			return true
		}
		l.gathered = l.gathered[n:]
		l.ungated = true
	}
	l.gathered = nil
	return true
}

// nextBatch returns how many decisions go into one entry.
func nextBatch[D projections.Domain[D]](ds []decision[D]) int {
	bytes := 0
	for i, d := range ds {
		bytes += len(d.change.Raw())
		if i > 0 && (bytes > MaxBatchBytes || i == MaxBatchChanges) {
			return i
		}
	}
	return len(ds)
}

func (r *Replica[D]) proposeBatch(ds []decision[D]) error {
	l, head := r.lead, r.state.Head
	if n := len(l.proposed); n > 0 {
		last := l.proposed[n-1].decisions
		head = last[len(last)-1].state.Head
	}
	batch := events.Batch{
		Stream: head.Stream, Cluster: head.Cluster, RecoveryEpoch: head.RecoveryEpoch,
		Term: l.term, Previous: head.Digest, Changes: make([]*events.Change, len(ds)),
	}
	for i := range ds {
		batch.Changes[i] = ds[i].change
	}
	data := batch.Encode()
	if err := r.group.Propose(data); err != nil {
		return err
	}
	for i := range ds {
		ds[i].waiter.proposed = true
	}
	l.proposed = append(l.proposed, proposal[D]{data: data, previous: head.Digest, decisions: ds})
	r.stats.Entries++
	r.stats.Changes += uint64(len(ds))
	return nil
}

// forgetGathered rolls the pending model back to what is in the log, after raft
// dropped a proposal: neither it nor anything decided after it may go in.
func (r *Replica[D]) forgetGathered(cause error) {
	l := r.lead
	r.log.Warn("proposal dropped", "changes", len(l.gathered), "error", cause)
	r.stats.Dropped += uint64(len(l.gathered))
	why := func() error { return r.noLeader("the log took no proposal (" + cause.Error() + ")") }
	r.forget(l.gathered, func(*waiter) error { return why() })
	for _, d := range l.gathered {
		l.changes--
		l.bytes -= len(d.change.Raw())
	}
	l.gathered = nil
	l.state = r.state
	if n := len(l.proposed); n > 0 {
		last := l.proposed[n-1].decisions
		l.state = last[len(last)-1].state
	}
	kept := l.state.Head.Revision
	r.failReads(func(q *reader) bool { return q.term != 0 && q.need > kept }, func(*reader) error { return why() })
}

// noteGate finds the Write that the last proposals are in: the first one with
// entries after them.
func (r *Replica[D]) noteGate(w *raftlog.Write) {
	if l := r.lead; l != nil && l.ungated && w != nil && len(w.Entries) > 0 {
		l.ungated, l.gate = false, w
	}
}
