package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// Defaults of Config.
const (
	DefaultElectionTicks       = 10
	DefaultHeartbeatTicks      = 1
	DefaultMaxEntryBytes       = 2 << 20
	DefaultMaxMessageBytes     = 1 << 20
	DefaultMaxInflightMessages = 256
	DefaultMaxInflightBytes    = 16 << 20
	DefaultMaxUncommittedBytes = 32 << 20
	DefaultMaxApplyBytes       = 8 << 20
)

// Config of a Group. Zero values of limits stand for the defaults.
type Config struct {
	Group  GroupID
	Member uint64
	Loaded *Loaded
	// Checkpoint is the one of Loaded.Checkpoints that the caller has loaded; entries
	// after it come again as Committed. nil stands for the newest.
	Checkpoint *Descriptor
	// Peers are members beyond the Raft configuration whose messages are accepted:
	// those that are about to join.
	Peers []uint64

	ElectionTicks, HeartbeatTicks int
	// StallTicks is how long the oldest Write may take before a leader stops its
	// heartbeats and refuses proposals, so that others can take over.
	StallTicks int

	MaxEntryBytes       int // one entry's data
	MaxMessageBytes     int // entries in one message, if there is more than one
	MaxInflightMessages int // unacknowledged messages to one member
	MaxInflightBytes    int
	MaxUncommittedBytes int // proposed and not yet reported with Applied
	MaxApplyBytes       int // committed, handed out and not yet reported with Applied

	Logger *slog.Logger // nil: silent
}

// Entry is a committed entry. Data is nil for the empty entry of a new leader and
// for conf changes; it must not be modified.
type Entry struct {
	Index, Term uint64
	Data        []byte
	// Conf is the configuration from this entry on; nil when it did not change it.
	Conf *pb.ConfState
}

// ReadState answers a ReadIndex: reads may be served by a model at Index or later.
type ReadState struct {
	ID    uint64
	Index uint64
	Term  uint64
}

// Role of a member in a group.
type Role uint8

// Roles.
const (
	Follower Role = 1 + iota
	PreCandidate
	Candidate
	Leader
)

// SoftState is who leads, as far as this member knows. Leader is 0 when unknown.
type SoftState struct {
	Role   Role
	Leader uint64
	Term   uint64
}

// Output is one step's work. Parts may be handled in any order, except that a
// group's Writes keep theirs.
type Output struct {
	// Messages to other members, to be sent at once: they wait for no Write. They
	// share entries with the log and must be treated as read-only.
	Messages []*pb.Message
	Write    *Write
	// Committed entries, each exactly once and in order.
	Committed  []Entry
	ReadStates []ReadState
	Soft       *SoftState // nil when unchanged
}

// Progress is what a leader knows of a member.
type Progress struct {
	Match, Next  uint64
	State        string // "probe", "replicate" or "snapshot"
	RecentActive bool
	Learner      bool
}

// Status is a snapshot of a group for operators and decisions of the driver.
type Status struct {
	SoftState
	Commit, Applied uint64
	First, Last     uint64 // first and last index of the log; First is Last+1 when empty
	Conf            *pb.ConfState
	Transferee      uint64              // member that leadership is being handed to; 0: none
	Progress        map[uint64]Progress // on the leader only
	Unwritten       int                 // Writes handed out and not yet reported with Appended
	Stalled         bool                // the oldest of them is older than StallTicks
	Refused         map[Reason]uint64   // messages that failed Check, by reason
}

// Group is one Raft group on one member. One goroutine owns it; no method blocks.
type Group struct {
	cfg    Config
	rn     *raft.RawNode
	memory *raft.MemoryStorage // the stored log, as far as it is not cut

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
	history    []Record
	checkpoint *Descriptor
	cutTo      uint64
}

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

func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.ElectionTicks, DefaultElectionTicks)
	def(&c.HeartbeatTicks, DefaultHeartbeatTicks)
	def(&c.StallTicks, c.ElectionTicks)
	def(&c.MaxEntryBytes, DefaultMaxEntryBytes)
	def(&c.MaxMessageBytes, DefaultMaxMessageBytes)
	def(&c.MaxInflightMessages, DefaultMaxInflightMessages)
	def(&c.MaxInflightBytes, DefaultMaxInflightBytes)
	def(&c.MaxUncommittedBytes, DefaultMaxUncommittedBytes)
	def(&c.MaxApplyBytes, DefaultMaxApplyBytes)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// startCheckpoint checks the configuration and returns the checkpoint to start from.
func (c Config) startCheckpoint() (Descriptor, error) {
	l := c.Loaded
	switch {
	case c.Group == 0 || c.Member == 0 || raft.IsLocalMsgTarget(c.Member):
		return Descriptor{}, fmt.Errorf("raftlog: group %d on member %d: both ids start at 1", c.Group, c.Member)
	case l == nil || len(l.Checkpoints) == 0:
		return Descriptor{}, fmt.Errorf("raftlog: group %d has no loaded log: call Storage.Load first", c.Group)
	case l.Group != c.Group:
		return Descriptor{}, fmt.Errorf("raftlog: group %d was given the log of group %d", c.Group, l.Group)
	case c.HeartbeatTicks < 1 || c.ElectionTicks <= c.HeartbeatTicks:
		return Descriptor{}, fmt.Errorf("raftlog: %d election ticks and %d heartbeat ticks: the first must be the larger one", c.ElectionTicks, c.HeartbeatTicks)
	case c.MaxInflightBytes < c.MaxMessageBytes:
		return Descriptor{}, fmt.Errorf("raftlog: MaxInflightBytes %d is below MaxMessageBytes %d", c.MaxInflightBytes, c.MaxMessageBytes)
	}
	cp := l.Newest()
	if c.Checkpoint != nil {
		cp = *c.Checkpoint
	}
	if cp.Index < l.Start.Index || cp.Index > l.LastIndex() {
		return cp, fmt.Errorf("raftlog: group %d: a log of entries after %d up to %d cannot be started from a checkpoint at %d",
			c.Group, l.Start.Index, l.LastIndex(), cp.Index)
	}
	return cp, cp.Validate()
}

// loadMemory builds raft's view of the stored log with cp as its snapshot.
func loadMemory(l *Loaded, cp Descriptor) (*raft.MemoryStorage, HardState, error) {
	hard := l.HardState
	hard.Commit = max(hard.Commit, cp.Index)
	if hard.Commit > l.LastIndex() {
		return nil, hard, fmt.Errorf("raftlog: group %d: entry %d is committed but the log ends at %d: %s", l.Group, hard.Commit, l.LastIndex(), advice)
	}
	snap, err := cp.Snapshot()
	if err != nil {
		return nil, hard, err
	}
	data := snap.GetData()
	snap.Metadata.Index, snap.Metadata.Term, snap.Data = new(l.Start.Index), new(l.Start.Term), nil
	if l.Start.Index == cp.Index {
		snap.Data = data
	}
	memory := raft.NewMemoryStorage()
	if err := memory.ApplySnapshot(snap); err != nil {
		return nil, hard, fmt.Errorf("raftlog: group %d: %w", l.Group, err)
	}
	if err := memory.Append(l.Entries); err != nil {
		return nil, hard, fmt.Errorf("raftlog: group %d: %w", l.Group, err)
	}
	if cp.Index > l.Start.Index {
		if _, err := memory.CreateSnapshot(cp.Index, cp.ConfState, data); err != nil {
			return nil, hard, fmt.Errorf("raftlog: group %d: %w", l.Group, err)
		}
	}
	return memory, hard, memory.SetHardState(&pb.HardState{Term: new(hard.Term), Vote: new(hard.Vote), Commit: new(hard.Commit)})
}

// Tick advances raft's clock by one. The caller decides how long a tick is.
func (g *Group) Tick() {
	g.ticks++
	g.rn.Tick()
}

// Step takes a message from the wire that came over the connection authenticated as
// member from. A *BadMessageError refuses one that fails Check, ErrNotStaged a
// snapshot: the caller transfers its checkpoint and then calls InstallSnapshot.
func (g *Group) Step(from uint64, m *pb.Message) error {
	if err := g.check(from, m); err != nil {
		return err
	}
	if m.GetType() == pb.MsgSnap {
		return ErrNotStaged
	}
	return g.step(m)
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
		Self: g.cfg.Member, Connection: from, Member: g.isMember,
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
// them alone if there is nothing else to store.
func (g *Group) AddHistory(rs ...Record) { g.queued.history = append(g.queued.history, rs...) }

// Cut makes cp, a finished checkpoint of the caller, the current one for restarts
// and for members that lag, and deletes the log up to upTo (0: nothing), which is at
// most cp.Index; history stays. Both happen in one Write, behind all history added
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
