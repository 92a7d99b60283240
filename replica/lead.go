package replica

import (
	"fmt"
	"runtime/debug"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
)

// lead is what a member has only while it leads, in one term.
//
// The pending state is the applied one plus, in order, the changes of proposed and
// those of gathered. It exists once the term's own empty entry is applied: then
// everything that earlier terms left in the log is in the applied state. It changes
// in place, and is frozen where a batch ends.
type lead[D projections.Domain[D]] struct {
	term    uint64
	ready   bool
	pending *projections.Draft[D] // valid when ready

	// Group commit without a timer: while proposals are on their way, decisions gather;
	// their commit proposes them all.
	early    []Request  // arrived before ready
	gathered []batch[D] // not yet proposed
	proposed []batch[D] // in the log, oldest first
	changes  int        // in gathered and proposed
	bytes    int        // of those changes
}

// batch is what goes into one entry of the log. Only the last one that is gathered
// is open: it takes further decisions.
type batch[D projections.Domain[D]] struct {
	decisions []decision
	bytes     int                   // of their changes
	after     *projections.State[D] // the pending state after them; nil while the batch is open

	data     []byte // as proposed
	previous events.Digest
}

// decision is a change in the pending state.
type decision struct {
	change *events.Change
	digest events.Digest // of the stream after it
	waiter waiter
	reply  proto.Message
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
	case r.diskLow && !commands.MakesRoom(q.Command):
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

// decide carries out a command on the pending state. A change is folded into it at
// once; anything else is an answer that waits for what it saw.
func (r *Replica[D]) decide(q Request) {
	l := r.lead
	decided, err := r.tryDecide(q)
	head := l.pending.State().Head
	if decided.Change != nil {
		l.gather(decision{change: decided.Change, digest: head.Digest, reply: decided.Reply,
			waiter: waiter{requestID: q.requestID(), done: q.Done}})
		return
	}
	seen := head.Revision
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

// tryDecide returns the decision; a change is in the pending state then. A panic on
// the way is a bug, but nothing has happened yet: the log has not seen the change, and
// what it left of the pending state is made anew. So it is answered instead of taking
// down one leader after the other as the client retries.
func (r *Replica[D]) tryDecide(q Request) (d commands.Decision, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.stats.Panicked++
			r.log.Error("deciding a command panicked", "command", proto.MessageName(q.Command), "panic", p, "stack", string(debug.Stack()))
			r.rewind()
			d = commands.Decision{}
			err = r.internal("deciding %s failed: please report this bug: %v", proto.MessageName(q.Command), p)
		}
	}()
	d, err = r.cfg.Decide(r.lead.pending.State(), q.Env, q.Command)
	if err == nil && d.Change != nil {
		r.lead.makeRoom(len(d.Change.Raw()))
		r.lead.fold(d)
	}
	return d, err
}

// fold makes a decision's change part of the pending state. A batch was folded as it
// was decided, which is most of the work on it: that is not done twice.
func (l *lead[D]) fold(d commands.Decision) {
	if model, ok := d.Model.(projections.ModelDraft[D]); ok {
		l.pending.Take(d.Change, model)
		return
	}
	l.pending.Fold(d.Change)
}

// makeRoom ends the open batch if a change of that size does not fit into it.
func (l *lead[D]) makeRoom(size int) {
	if b := l.open(); b != nil && (b.bytes+size > MaxBatchBytes || len(b.decisions) == MaxBatchChanges) {
		b.after = l.pending.Freeze()
	}
}

// open returns the batch that takes further decisions; nil if there is none.
func (l *lead[D]) open() *batch[D] {
	if n := len(l.gathered); n > 0 && l.gathered[n-1].after == nil {
		return &l.gathered[n-1]
	}
	return nil
}

// gather adds a decision that was folded last.
func (l *lead[D]) gather(d decision) {
	b := l.open()
	if b == nil {
		l.gathered = append(l.gathered, batch[D]{})
		b = l.open()
	}
	size := len(d.change.Raw())
	b.decisions = append(b.decisions, d)
	b.bytes += size
	l.changes++
	l.bytes += size
}

// rewind makes the pending state anew from where it was frozen last.
func (r *Replica[D]) rewind() {
	l := r.lead
	l.pending = r.frozen(l.proposed, l.gathered).Draft()
	if b := l.open(); b != nil {
		for i := range b.decisions {
			l.pending.Fold(b.decisions[i].change)
		}
	}
}

// frozen returns the state after the last of these batches that has one; the applied
// one if none has.
func (r *Replica[D]) frozen(runs ...[]batch[D]) *projections.State[D] {
	state := r.state
	for _, batches := range runs {
		for i := range batches {
			if batches[i].after != nil {
				state = batches[i].after
			}
		}
	}
	return state
}

// takeOver makes a leader decide once its own term's empty entry is applied.
func (r *Replica[D]) takeOver() {
	l := r.lead
	if l == nil || l.ready || r.appliedTerm != l.term {
		return
	}
	l.ready, l.pending = true, r.state.Draft()
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
	r.forget(l.proposed, why)
	r.forget(l.gathered, why)
	l.early, l.proposed, l.gathered = nil, nil, nil
	l.changes, l.bytes = 0, 0
}

func (r *Replica[D]) forget(batches []batch[D], why func(*waiter) error) {
	for i := range batches {
		for j := range batches[i].decisions {
			w := &batches[i].decisions[j].waiter
			r.answer(w.done, Answer{Err: why(w)})
		}
	}
}

// resetLead starts the pending state anew from the applied one: what was in flight
// can no longer take effect, because the fence stops it.
func (r *Replica[D]) resetLead() {
	why := func() error { return r.noLeader("the state it was decided on was overtaken") }
	r.drop(func(*waiter) error { return why() })
	r.failReads(func(q *reader) bool { return q.term != 0 && q.decided() }, func(*reader) error { return why() })
	r.lead.pending = r.state.Draft()
}

// propose puts what has gathered into the log, as few entries as possible, unless
// what went before has yet to be committed: each entry costs all members a sync and
// several messages, so that fewer and larger ones carry more (6 % more creates of 64
// clients than waiting for the own disk alone, and a shorter tail).
func (r *Replica[D]) propose() bool {
	l := r.lead
	if l == nil || len(l.proposed) > 0 || len(l.gathered) == 0 {
		return false
	}
	if b := l.open(); b != nil {
		b.after = l.pending.Freeze()
	}
	for len(l.gathered) > 0 {
		if err := r.proposeBatch(l.gathered[0]); err != nil {
			r.forgetGathered(err)
			return true
		}
		l.gathered = l.gathered[1:]
	}
	l.gathered = nil
	return true
}

func (r *Replica[D]) proposeBatch(b batch[D]) error {
	l, head := r.lead, r.frozen(r.lead.proposed).Head
	entry := events.Batch{
		Stream: head.Stream, Cluster: head.Cluster, RecoveryEpoch: head.RecoveryEpoch,
		Term: l.term, Previous: head.Digest, Changes: make([]*events.Change, len(b.decisions)),
	}
	for i := range b.decisions {
		entry.Changes[i] = b.decisions[i].change
	}
	b.data, b.previous = entry.Encode(), head.Digest
	if err := r.group.Propose(b.data); err != nil {
		return err
	}
	for i := range b.decisions {
		b.decisions[i].waiter.proposed = true
	}
	l.proposed = append(l.proposed, b)
	r.stats.Entries++
	r.stats.Changes += uint64(len(b.decisions))
	return nil
}

// forgetGathered rolls the pending state back to what is in the log, after raft
// dropped a proposal: neither it nor anything decided after it may go in.
func (r *Replica[D]) forgetGathered(cause error) {
	l := r.lead
	why := func() error { return r.noLeader("the log took no proposal (" + cause.Error() + ")") }
	r.forget(l.gathered, func(*waiter) error { return why() })
	dropped := 0
	for i := range l.gathered {
		dropped += len(l.gathered[i].decisions)
		l.bytes -= l.gathered[i].bytes
	}
	l.changes -= dropped
	r.log.Warn("proposal dropped", "changes", dropped, "error", cause)
	r.stats.Dropped += uint64(dropped)
	l.gathered = nil
	r.rewind()
	kept := l.pending.State().Head.Revision
	r.failReads(func(q *reader) bool { return q.term != 0 && q.need > kept }, func(*reader) error { return why() })
}
