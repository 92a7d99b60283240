package replica

import (
	"errors"
	"log/slog"
	"sync/atomic"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/raftlog"
)

// Replica is one stream on one member. See the package comment for who may call
// what.
type Replica[D projections.Domain[D]] struct {
	cfg   Config[D]
	name  string // of the stream
	log   *slog.Logger
	group *raftlog.Group
	view  atomic.Pointer[projections.State[D]]

	// What follows is owned by the driver's goroutine.

	state       *projections.State[D] // applied
	applied     uint64                // index of the last entry in it
	appliedTerm uint64                // term of that entry
	conf        *pb.ConfState         // at that entry
	soft        raftlog.SoftState     // as last reported by group
	ticks       uint64

	lead     *lead[D] // nil unless this member leads; keyed by term
	reads    reads
	checkpts checkpoints
	install  install[D]
	unread   unreadable

	drain    drain
	diskLow  bool
	failed   error
	reported bool // failed was handed out

	answers []func() // Done calls that are due
	out     Output[D]
	stats   Status // its counters only
}

// New starts a replica from what its storage holds. It decides, sends and stores
// nothing before the first Ready.
func New[D projections.Domain[D]](cfg Config[D]) (*Replica[D], error) {
	cfg.setDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	group, err := raftlog.NewGroup(cfg.Log)
	if err != nil {
		return nil, err
	}
	cp := cfg.checkpoint()
	name := events.StreamName(cfg.State.Head.Stream)
	r := &Replica[D]{
		cfg: cfg, name: name, group: group, log: cfg.Logger.With("stream", name),
		state: cfg.State, applied: cp.Index, appliedTerm: cp.Term, conf: cp.ConfState,
	}
	r.view.Store(cfg.State)
	r.soft = group.Status().SoftState
	r.reads.init(cfg.Log.Member, cfg.ReadSeed)
	r.checkpts.begin(cp)
	return r, nil
}

// View returns the applied model. It is immutable. Any goroutine may call it.
func (r *Replica[D]) View() *projections.State[D] { return r.view.Load() }

// Tick advances time by one tick.
func (r *Replica[D]) Tick() {
	if r.failed != nil {
		return
	}
	r.ticks++
	r.group.Tick()
	r.checkpts.tick()
	r.expireReads()
	r.tickDrain()
}

// Step takes a message that came over the connection authenticated as member from.
// An error refuses the message, *raftlog.BadMessageError one that no honest member
// sends.
func (r *Replica[D]) Step(from uint64, m *pb.Message) error {
	if r.failed != nil {
		return nil //nolint:nilerr // a replica that failed ignores messages; the sender did nothing wrong
	}
	err := r.group.Step(from, m)
	if errors.Is(err, raftlog.ErrNotStaged) {
		return r.offered(from, m)
	}
	if _, newer := errors.AsType[*raftlog.FormatError](err); newer {
		return r.offeredUnreadable(from, m, err)
	}
	return err
}

// Wrote reports that a Write of an Output is stored as durably as it asked for.
// Writes are reported in their order.
func (r *Replica[D]) Wrote(w *raftlog.Write) {
	if r.failed != nil {
		return
	}
	if w.Install != nil {
		r.swap()
	}
	r.group.Appended(w)
	if w.Install != nil {
		r.group.Applied(w.Install.Index)
	}
	if n := len(w.History); n > 0 {
		r.cfg.Feed.SetDurable(w.History[n-1].Last)
	}
}

// SetDiskLow says whether the storage's reserve has been reached: changes are then
// refused with DISK_FULL, but for those that make room (commands.MakesRoom).
func (r *Replica[D]) SetDiskLow(low bool) { r.diskLow = low }

// SetPeers names members beyond the Raft configuration whose messages are accepted.
func (r *Replica[D]) SetPeers(ids []uint64) { r.group.SetPeers(ids) }

// TransferLeader hands leadership to another member. It does nothing on others.
func (r *Replica[D]) TransferLeader(to uint64) { _ = r.group.TransferLeader(to) }

// Campaign starts a pre-vote now.
func (r *Replica[D]) Campaign() error { return r.group.Campaign() }

// ForgetLeader makes a follower vote at once; the driver has verified that the
// leader is gone.
func (r *Replica[D]) ForgetLeader() error { return r.group.ForgetLeader() }

// ReportUnreachable says that messages to a member may have been lost.
func (r *Replica[D]) ReportUnreachable(id uint64) { r.group.ReportUnreachable(id) }

// ReportSnapshot says how the transfer of a checkpoint to a member ended.
func (r *Replica[D]) ReportSnapshot(id uint64, ok bool) { r.group.ReportSnapshot(id, ok) }

// Ready returns what has to be done next, and false when there is nothing. Call it
// after each input, or after several, until it returns false. Done functions run in
// it.
func (r *Replica[D]) Ready() (Output[D], bool) {
	if r.failed != nil {
		return r.readyFailed()
	}
	step, more := r.group.Ready()
	r.out.Messages, r.out.Write, r.out.Soft = step.Messages, step.Write, step.Soft
	if err := errors.Join(r.noteInstall(step.Write), r.apply(step.Committed)); err != nil {
		r.fail(err)
		return r.readyFailed()
	}
	if step.Soft != nil {
		r.follow(*step.Soft)
	}
	r.takeOver()
	r.confirmReads(step.ReadStates)
	r.settleReads()
	// From here on raft's role and term are what follow saw: only now may anything be
	// proposed in the name of that term.
	more = r.startRound() || more
	more = r.propose() || more
	out := r.out
	r.out = Output[D]{}
	return out, r.runAnswers() || more || !out.idle()
}

func (o *Output[D]) idle() bool {
	return len(o.Messages) == 0 && o.Write == nil && len(o.Applied) == 0 && !o.Installed &&
		o.Soft == nil && o.Leading == nil && o.Checkpoint == nil && o.Fetch == nil && o.Fatal == nil
}

// runAnswers calls the Done functions that are due. They may cause new ones, which
// wait for the next Ready.
func (r *Replica[D]) runAnswers() bool {
	due := r.answers
	r.answers = nil
	for _, f := range due {
		f()
	}
	return len(due) > 0
}

// fail stops the replica: nothing of the step in which it happened leaves it.
func (r *Replica[D]) fail(err error) {
	r.failed = err
	r.log.Error("the replica stops", "index", r.applied, "revision", r.state.Head.Revision, "error", err)
	r.drop(func(q *waiter) error {
		if q.proposed {
			return r.outcomeUnknown(q.requestID)
		}
		return r.stopping()
	})
	r.failReads(func(*reader) bool { return true }, func(*reader) error { return r.stopping() })
	r.out = Output[D]{}
}

func (r *Replica[D]) readyFailed() (Output[D], bool) {
	more := r.runAnswers()
	if r.reported {
		return Output[D]{}, more
	}
	r.reported = true
	return Output[D]{Fatal: r.failed}, true
}

// follow keeps step with role, leader and term.
func (r *Replica[D]) follow(now raftlog.SoftState) {
	before := r.soft
	r.soft = now
	if r.lead != nil && (now.Role != raftlog.Leader || now.Term != r.lead.term) {
		r.loseLead()
	}
	if r.lead == nil && now.Role == raftlog.Leader {
		r.lead = &lead[D]{term: now.Term}
	}
	if now.Leader != before.Leader || now.Term != before.Term {
		r.reads.askAgain = true // the round under way may have been lost with the leader
	}
}

// publish makes the applied state visible: to subscribers, then to readers. The other
// way round, a reader could subscribe from a revision that its feed has not reached.
func (r *Replica[D]) publish(changes []*events.Change) {
	r.cfg.Feed.Append(changes)
	r.view.Store(r.state)
	r.out.Applied = append(r.out.Applied, changes...)
}

// Status describes the replica. It allocates.
func (r *Replica[D]) Status() Status {
	s := r.stats
	s.Status = r.group.Status()
	s.Head = r.state.Head
	s.LastChange = r.state.Head.Time
	s.Newest = r.checkpts.newest
	s.Draining = r.drain.on
	s.Waiting = r.reads.count()
	if r.lead != nil {
		s.Leading = r.lead.ready
		s.Pending = r.lead.count()
	}
	return s
}
