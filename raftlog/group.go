package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// Group is one Raft group on one member. One goroutine owns it; no method blocks.
type Group struct {
	cfg    Config
	rn     *raft.RawNode
	memory *memory // the stored log, as far as it is not cut

	last      uint64 // last index handed out in a Write
	delivered uint64 // last index handed out as Committed
	applied   uint64 // last index reported with Applied
	newest    uint64 // index of the newest checkpoint raft knows
	conf      *pb.ConfState
	extra     []uint64 // members beyond conf

	inflight []*Write      // handed out, oldest first
	applying []applyBatch  // handed out, oldest first
	outbox   []*pb.Message // responses that waited for a Write
	queued   queuedWrite   // goes into the next Write
	soft     SoftState     // as last reported
	hard     HardState     // as last handed out

	ticks       uint64
	readTerm    uint64 // term that readFloor and readContext belong to
	readFloor   uint64 // first read id of that term
	readLast    uint64 // last read id
	contextTerm uint64
	readContext uint64
	refused     map[Reason]uint64
}

type applyBatch struct {
	last      uint64
	responses []*pb.Message
}

type queuedWrite struct {
	hard       *HardState // of which only the commit index is new
	history    []Record
	checkpoint *Descriptor
	cutTo      uint64
	ticked     bool // it has waited since before the last tick
}

// maxKeptBack is how many history records wait for a Write with something else in it.
const maxKeptBack = 64

// due says that what is queued has to be written now, not only with the next Write.
func (q *queuedWrite) due() bool {
	return q.checkpoint != nil || q.cutTo != 0 || len(q.history) >= maxKeptBack || q.ticked && q.waiting()
}

func (q *queuedWrite) waiting() bool { return q.hard != nil || len(q.history) > 0 }

// NewGroup starts a group from what its storage holds. It campaigns for nothing and
// sends nothing before it is stepped.
func NewGroup(cfg Config) (*Group, error) {
	cfg = cfg.withDefaults()
	cp, err := cfg.startCheckpoint()
	if err != nil {
		return nil, err
	}
	memory, hard, err := loadMemory(cfg.Loaded, cp)
	if err != nil {
		return nil, err
	}
	g := &Group{
		cfg: cfg, memory: memory,
		last: cfg.Loaded.LastIndex(), delivered: cp.Index, applied: cp.Index, newest: cp.Index,
		conf: cp.ConfState, extra: cfg.Peers, hard: hard,
		refused: map[Reason]uint64{},
	}
	g.rn, err = raft.NewRawNode(&raft.Config{
		ID: cfg.Member, ElectionTick: cfg.ElectionTicks, HeartbeatTick: cfg.HeartbeatTicks,
		Storage: memory, Applied: cp.Index, AsyncStorageWrites: true,
		MaxSizePerMsg: uint64(cfg.MaxMessageBytes), MaxCommittedSizePerReady: uint64(cfg.MaxApplyBytes),
		MaxUncommittedEntriesSize: uint64(cfg.MaxUncommittedBytes),
		MaxInflightMsgs:           cfg.MaxInflightMessages, MaxInflightBytes: uint64(cfg.MaxInflightBytes),
		CheckQuorum: true, PreVote: true, ReadOnlyOption: raft.ReadOnlySafe,
		DisableProposalForwarding: true, StepDownOnRemoval: true,
		Logger: raftLogger{cfg.Logger},
	})
	if err != nil {
		return nil, fmt.Errorf("raftlog: group %d: %w", cfg.Group, err)
	}
	g.soft = g.softState()
	return g, nil
}

// Tick advances raft's clock by one. The caller decides how long a tick is.
func (g *Group) Tick() {
	g.ticks++
	g.queued.ticked = g.queued.waiting()
	g.rn.Tick()
}

// Step takes a message from the wire that came over the connection authenticated as
// member from. A *BadMessageError or *FormatError refuses one that fails Check, ErrNotStaged
// a snapshot: the caller transfers its checkpoint and then calls InstallSnapshot.
func (g *Group) Step(from uint64, m *pb.Message) error {
	if err := g.check(from, m); err != nil {
		return err
	}
	switch {
	case m.GetType() == pb.MsgSnap:
		return ErrNotStaged
	case m.GetType() == pb.MsgReadIndex && g.rn.BasicStatus().RaftState != raft.StateLeader:
		return nil // raft would pass it on in the sender's name; the sender asks again
	case m.GetType() == pb.MsgAppResp && m.GetReject() && g.acknowledged(from, m):
		return nil
	}
	return g.step(m)
}

// acknowledged reports whether a member refuses, in a leader's term, what follows an entry
// which it has acknowledged: it has lost that entry, or the refusal is old. raft, when it
// probes, would send the same again at once, at the speed of the network and for each copy
// of the refusal, until something tells the member of its loss: a heartbeat does.
func (g *Group) acknowledged(member uint64, refusal *pb.Message) (found bool) {
	if st := g.rn.BasicStatus(); st.RaftState != raft.StateLeader || refusal.GetTerm() != st.GetTerm() {
		return false
	}
	g.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		found = found || id == member && refusal.GetIndex() <= pr.Match
	})
	return found
}

// InstallSnapshot takes a snapshot message that Step answered with ErrNotStaged,
// after its checkpoint was staged in the Storage and the caller's model was read
// from it. If raft still wants it, a following Output has a Write with Install set,
// and the caller replaces its model when that Write is stored. If not (it caught up
// by other means) no such Write comes.
func (g *Group) InstallSnapshot(from uint64, m *pb.Message) error {
	if err := g.check(from, m); err != nil {
		return err
	}
	return g.step(m)
}

func (g *Group) step(m *pb.Message) error {
	switch err := g.rn.Step(m); {
	case err == nil, errors.Is(err, raft.ErrStepPeerNotFound):
		return nil // an answer from a member that has just been removed
	default:
		return fmt.Errorf("raftlog: group %d: step %s: %w", g.cfg.Group, m.GetType(), err)
	}
}

func (g *Group) check(from uint64, m *pb.Message) error {
	st := g.rn.BasicStatus()
	err := Check(CheckEnv{
		Group: g.cfg.Group, Self: g.cfg.Member, Connection: from, Member: g.isMember,
		Term: st.GetTerm(), Leader: st.Lead, LastIndex: g.last, ReadContext: g.contextOf(st.GetTerm()),
		MaxEntryBytes: g.cfg.MaxEntryBytes, MaxMessageBytes: g.cfg.MaxMessageBytes,
	}, m)
	if bad, ok := errors.AsType[*BadMessageError](err); ok {
		g.refused[bad.Reason]++
	}
	return err
}

func (g *Group) isMember(id uint64) bool {
	if slices.Contains(g.extra, id) {
		return true
	}
	for _, ids := range confLists(g.conf) {
		if slices.Contains(ids, id) {
			return true
		}
	}
	return false
}

// SetPeers replaces Config.Peers.
func (g *Group) SetPeers(ids []uint64) { g.extra = slices.Clone(ids) }

// Propose appends an entry to the leader's log. data must not be empty. ErrNotLeader
// and ErrProposalDropped mean that it did not enter the log; nil does not mean that
// it will be committed.
func (g *Group) Propose(data []byte) error {
	switch {
	case len(data) == 0:
		return errors.New("raftlog: an empty proposal cannot be told from a new leader's own entry")
	case len(data) > g.cfg.MaxEntryBytes:
		return &TooLargeError{What: "proposal", Limit: "MaxEntryBytes", Max: g.cfg.MaxEntryBytes, Got: len(data)}
	}
	return g.propose(func() error { return g.rn.Propose(data) })
}

// ProposeConfChange asks for a change of the group's members. At most one is under
// way; raft replaces a second one, and one that makes no sense, by an empty entry.
func (g *Group) ProposeConfChange(cc *pb.ConfChangeV2) error {
	if _, err := applyConf(g.conf, cc); err != nil {
		return fmt.Errorf("raftlog: group %d: conf change: %w", g.cfg.Group, err)
	}
	return g.propose(func() error { return g.rn.ProposeConfChange(cc) })
}

func (g *Group) propose(f func() error) error {
	if g.rn.BasicStatus().RaftState != raft.StateLeader {
		return ErrNotLeader
	}
	if g.stalled() {
		return ErrProposalDropped
	}
	switch err := f(); {
	case errors.Is(err, raft.ErrProposalDropped):
		return ErrProposalDropped
	case err != nil:
		return fmt.Errorf("raftlog: group %d: propose: %w", g.cfg.Group, err)
	}
	return nil
}

// ReadIndex starts a linearizable read on any member; the answer comes in
// Output.ReadStates, or never. Each try has an id of its own, larger than all before
// it in this process. ErrNoLeader when there is nobody to ask.
func (g *Group) ReadIndex(id uint64) error {
	st := g.rn.BasicStatus()
	if st.Lead == raft.None {
		return ErrNoLeader
	}
	if id <= g.readLast {
		return fmt.Errorf("raftlog: read id %d is not larger than the one before, %d", id, g.readLast)
	}
	g.readLast = id
	if g.readTerm != st.GetTerm() {
		g.readTerm, g.readFloor = st.GetTerm(), id
	}
	g.rn.ReadIndex(binary.LittleEndian.AppendUint64(nil, id))
	return nil
}

// Appended reports that a Write is stored as durably as it asked for. Writes are
// reported in the order Ready returned them.
func (g *Group) Appended(w *Write) {
	if len(g.inflight) == 0 || g.inflight[0] != w {
		panic(fmt.Sprintf("raftlog: group %d: Appended out of order", g.cfg.Group))
	}
	g.inflight = g.inflight[1:]
	if w.Install != nil {
		snap, err := w.Install.Snapshot()
		if err == nil {
			err = g.memory.ApplySnapshot(snap)
		}
		g.must("install", err)
	}
	g.must("append", g.memory.Append(w.Entries))
	for _, m := range w.responses {
		if m.GetTo() == g.cfg.Member {
			g.must("step", g.step(m))
		} else {
			g.outbox = append(g.outbox, m)
		}
	}
}

// must stops the member on what only a bug can cause.
func (g *Group) must(what string, err error) {
	if err != nil {
		panic(fmt.Sprintf("raftlog: group %d: %s: %v", g.cfg.Group, what, err))
	}
}

// Applied reports that everything up to index is folded, or is part of an installed
// snapshot. It makes room for more Committed entries and for more proposals.
func (g *Group) Applied(index uint64) {
	g.applied = max(g.applied, min(index, g.delivered))
	for len(g.applying) > 0 && g.applying[0].last <= g.applied {
		for _, m := range g.applying[0].responses {
			g.must("step", g.step(m))
		}
		g.applying = g.applying[1:]
	}
}

// AddHistory attaches history records to the next Write. Ready returns a Write for
// them alone if there is nothing else to store until the next tick, or if they are many.
func (g *Group) AddHistory(rs ...Record) { g.queued.history = append(g.queued.history, rs...) }

// Before returns the index before the entries that end at an index and have at most
// that many bytes together.
func (g *Group) Before(end, bytes uint64) uint64 { return g.memory.before(end, bytes) }

// Cut makes cp, a finished checkpoint of the caller, the current one for restarts
// and for members that lag, and has the log start after upTo (0: where it does), which is
// at most cp.Index; history stays. Both happen in one Write, behind all history added
// before. Entries between upTo and cp.Index keep short gaps of other members cheap.
// A checkpoint that is not newer than the current one changes nothing.
func (g *Group) Cut(upTo uint64, cp Descriptor) error {
	if err := cp.Validate(); err != nil {
		return err
	}
	if cp.Group != g.cfg.Group || cp.Index > g.applied || upTo > cp.Index {
		return fmt.Errorf("raftlog: group %d: cannot cut up to %d with the checkpoint of group %d at %d: %d is applied",
			g.cfg.Group, upTo, cp.Group, cp.Index, g.applied)
	}
	if cp.Index <= g.newest {
		return nil
	}
	data, err := cp.MarshalBinary()
	if err != nil {
		return err
	}
	if _, err := g.memory.CreateSnapshot(cp.Index, cp.ConfState, data); err != nil {
		return fmt.Errorf("raftlog: group %d: cut: %w", g.cfg.Group, err)
	}
	g.newest, g.queued.checkpoint = cp.Index, &cp
	// raft counts whole batches as applied and still looks at entries behind that.
	upTo = min(upTo, g.rn.BasicStatus().Applied)
	if first, _ := g.memory.FirstIndex(); upTo >= first {
		g.must("compact", g.memory.Compact(upTo))
		g.queued.cutTo = upTo
	}
	return nil
}

// TransferLeader hands leadership to a member. Proposals are dropped until it has
// succeeded or an election time-out has passed. ErrNotLeader on other members: raft
// would forward it, and members refuse that from the wire.
func (g *Group) TransferLeader(to uint64) error {
	if g.rn.BasicStatus().RaftState != raft.StateLeader {
		return ErrNotLeader
	}
	g.rn.TransferLeader(to)
	return nil
}

// Campaign starts a pre-vote now.
func (g *Group) Campaign() error { return g.rn.Campaign() }

// ForgetLeader makes a follower forget its leader, so that it votes at once; the
// caller has verified that the leader is gone. A leader that lives is back with its
// next heartbeat.
func (g *Group) ForgetLeader() error { return g.rn.ForgetLeader() }

// ReportUnreachable says that messages to a member may have been lost.
func (g *Group) ReportUnreachable(id uint64) { g.rn.ReportUnreachable(id) }

// ReportSnapshot says how a snapshot sent to a member ended. Without it the member
// gets nothing any more.
func (g *Group) ReportSnapshot(id uint64, ok bool) {
	status := raft.SnapshotFailure
	if ok {
		status = raft.SnapshotFinish
	}
	g.rn.ReportSnapshot(id, status)
}
