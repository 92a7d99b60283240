package raftlog

import (
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/confchange"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"
)

// Limits of what a member may ask of another.
const (
	// MaxTermJump is how far ahead of the own term a message may be.
	MaxTermJump = 1 << 20
	// MaxCheckpointIndex is the last index that a checkpoint from another member may
	// have. raft counts on from there, and panics when it counts beyond 64 bits.
	MaxCheckpointIndex = 1 << 62
	// MaxMessageEntries is the largest number of entries in one message.
	MaxMessageEntries = 64 << 10
	// ReadContextBytes is the size of a read's context, the only one allowed beside
	// a vote's mark of a leadership transfer.
	ReadContextBytes = 8
	// confProbeInflight only sizes a tracker that is thrown away.
	confProbeInflight = 1
)

// transferContext marks a vote of a leadership transfer (raft's campaignTransfer).
const transferContext = "CampaignTransfer"

// Reason says why a message was refused. The set is fixed: metrics count by it.
type Reason string

// Reasons of a BadMessageError.
const (
	BadType      Reason = "type"      // not one that members send each other
	BadSender    Reason = "sender"    // not a member, or not who the connection says
	BadRecipient Reason = "recipient" // meant for someone else
	BadTerm      Reason = "term"      // missing, present where it must not be, or too far ahead
	BadLeader    Reason = "leader"    // a second leader in a term, or not the leader at all
	BadContext   Reason = "context"   // neither empty nor of the one size it may have
	BadEntries   Reason = "entries"   // gaps, terms that run backwards, unreadable conf changes
	BadSize      Reason = "size"      // over a limit
	BadIndex     Reason = "index"     // an acknowledgement of what was never sent
	BadSnapshot  Reason = "snapshot"  // missing, not readable, or where none belongs
	// BadCommit is more than malformed: the leader counts on entries that this
	// member does not have. Either may have lost its log; the member must not go on
	// without being looked at.
	BadCommit Reason = "commit"
)

// BadMessageError is a message that must not reach raft.
type BadMessageError struct {
	Reason Reason
	From   uint64
	Type   pb.MessageType
	Detail string
}

func (e *BadMessageError) Error() string {
	return fmt.Sprintf("raftlog: %s from member %d refused (%s): %s", e.Type, e.From, e.Reason, e.Detail)
}

// CheckEnv is what Check has to know of the recipient.
type CheckEnv struct {
	Group      GroupID
	Self       uint64
	Connection uint64 // member that the connection was authenticated as
	Member     func(id uint64) bool
	Term       uint64
	Leader     uint64 // known leader of Term; 0: none
	LastIndex  uint64
	// ReadContext is the highest context of a heartbeat sent in this term.
	ReadContext uint64
	// MaxEntryBytes and MaxMessageBytes limit the data of one entry and of all
	// entries of a message (one entry is always allowed).
	MaxEntryBytes, MaxMessageBytes int
}

// Check decides whether a message from the wire may reach raft. It is pure, total
// and changes nothing. raft obeys or panics on messages that an honest member never
// sends; whatever passes here can do neither. Its error is a *BadMessageError, or a
// *FormatError for a snapshot that only a newer build can read and that is sound in all
// that this one can check. It proves nothing: no checksum covers it.
func Check(env CheckEnv, m *pb.Message) error {
	c := checker{env: env, m: m}
	if m == nil {
		return &BadMessageError{Reason: BadType, Detail: "there is no message"}
	}
	for _, step := range []func() error{c.address, c.term, c.shape, c.context, c.leader, c.entries, c.indexes, c.snapshot} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

type checker struct {
	env CheckEnv
	m   *pb.Message
}

func (c *checker) bad(r Reason, format string, args ...any) error {
	return &BadMessageError{Reason: r, From: c.m.GetFrom(), Type: c.m.GetType(), Detail: fmt.Sprintf(format, args...)}
}

// address checks who speaks to whom, and about what.
func (c *checker) address() error {
	m, env := c.m, c.env
	switch m.GetType() {
	case pb.MsgApp, pb.MsgAppResp, pb.MsgVote, pb.MsgVoteResp, pb.MsgPreVote, pb.MsgPreVoteResp,
		pb.MsgHeartbeat, pb.MsgHeartbeatResp, pb.MsgSnap, pb.MsgTimeoutNow, pb.MsgReadIndex, pb.MsgReadIndexResp:
	default:
		return c.bad(BadType, "members do not send each other this type")
	}
	switch {
	case m.Type == nil:
		return c.bad(BadType, "it has no type")
	case m.GetTo() != env.Self:
		return c.bad(BadRecipient, "it is for member %d, this is member %d", m.GetTo(), env.Self)
	case m.GetFrom() != env.Connection:
		return c.bad(BadSender, "it came over the connection of member %d", env.Connection)
	case m.GetFrom() == env.Self || m.GetFrom() == 0 || !env.Member(m.GetFrom()):
		return c.bad(BadSender, "the sender is no other member of the group")
	}
	return nil
}

// term checks presence and reach. raft takes a message without term for a local one.
func (c *checker) term() error {
	t := c.m.GetTerm()
	if c.m.GetType() == pb.MsgReadIndex {
		if t != 0 {
			return c.bad(BadTerm, "it has term %d but must not have one", t)
		}
		return nil
	}
	switch {
	case t == 0:
		return c.bad(BadTerm, "it has no term")
	case t > c.env.Term && t-c.env.Term > MaxTermJump:
		return c.bad(BadTerm, "term %d is more than MaxTermJump (%d) ahead of term %d", t, MaxTermJump, c.env.Term)
	}
	return nil
}

// shape refuses fields that do not belong to the type.
func (c *checker) shape() error {
	m := c.m
	if m.GetType() != pb.MsgSnap && m.GetSnapshot() != nil {
		return c.bad(BadSnapshot, "a snapshot does not belong here")
	}
	if len(m.GetResponses()) > 0 {
		return c.bad(BadType, "responses are local and do not belong here")
	}
	switch m.GetType() {
	case pb.MsgApp:
	case pb.MsgReadIndex, pb.MsgReadIndexResp:
		if es := m.GetEntries(); len(es) != 1 || len(es[0].GetData()) != ReadContextBytes {
			return c.bad(BadContext, "a read has one context of %d bytes", ReadContextBytes)
		}
	default:
		if n := len(m.GetEntries()); n > 0 {
			return c.bad(BadEntries, "%d entries do not belong here", n)
		}
	}
	return nil
}

func (c *checker) context() error {
	ctx := c.m.GetContext()
	switch c.m.GetType() {
	case pb.MsgHeartbeat, pb.MsgHeartbeatResp:
		if len(ctx) != 0 && len(ctx) != ReadContextBytes {
			return c.bad(BadContext, "the context has %d bytes, not 0 or %d", len(ctx), ReadContextBytes)
		}
		if c.m.GetType() == pb.MsgHeartbeatResp && c.toLeader() && len(ctx) > 0 {
			if v := readContext(ctx); v > c.env.ReadContext {
				return c.bad(BadContext, "it confirms read %d, the last one asked for is %d", v, c.env.ReadContext)
			}
		}
	case pb.MsgVote:
		if len(ctx) != 0 && string(ctx) != transferContext {
			return c.bad(BadContext, "a vote's context is empty or says %q", transferContext)
		}
	default:
		if len(ctx) != 0 {
			return c.bad(BadContext, "a context of %d bytes does not belong here", len(ctx))
		}
	}
	return nil
}

// toLeader reports that raft will act on an answer: it is of the term that this
// member leads. Others get answers too, to what they sent before they lost the lead
// or crashed, perhaps about entries that went with it; raft ignores those.
func (c *checker) toLeader() bool {
	return c.m.GetTerm() == c.env.Term && c.env.Leader == c.env.Self
}

// leader refuses a second leader in the own term.
func (c *checker) leader() error {
	switch c.m.GetType() {
	case pb.MsgApp, pb.MsgHeartbeat, pb.MsgSnap, pb.MsgTimeoutNow, pb.MsgReadIndexResp:
	default:
		return nil
	}
	if c.m.GetTerm() == c.env.Term && c.env.Leader != 0 && c.env.Leader != c.m.GetFrom() {
		return c.bad(BadLeader, "member %d leads term %d", c.env.Leader, c.env.Term)
	}
	return nil
}

// entries checks that an append is one contiguous piece of a log.
func (c *checker) entries() error {
	m := c.m
	if m.GetType() != pb.MsgApp {
		return nil
	}
	es := m.GetEntries()
	if len(es) > MaxMessageEntries {
		return c.bad(BadSize, "%d entries, over the limit MaxMessageEntries of %d", len(es), MaxMessageEntries)
	}
	if m.GetLogTerm() > m.GetTerm() {
		return c.bad(BadEntries, "the entry before has term %d, the message %d", m.GetLogTerm(), m.GetTerm())
	}
	total, index, term := 0, m.GetIndex(), m.GetLogTerm()
	for _, e := range es {
		index++
		if e.GetIndex() != index || index == 0 {
			return c.bad(BadEntries, "entry %d where %d is due", e.GetIndex(), index)
		}
		if e.GetTerm() < term || e.GetTerm() == 0 || e.GetTerm() > m.GetTerm() {
			return c.bad(BadEntries, "entry %d has term %d between %d and %d", index, e.GetTerm(), term, m.GetTerm())
		}
		if len(e.GetData()) > c.env.MaxEntryBytes {
			return c.bad(BadSize, "entry %d has %d bytes, over the limit MaxEntryBytes of %d", index, len(e.GetData()), c.env.MaxEntryBytes)
		}
		if _, err := confChangeOf(e); err != nil {
			return c.bad(BadEntries, "entry %d: %v", index, err)
		}
		term = e.GetTerm()
		total += len(e.GetData())
	}
	if len(es) > 1 && total > c.env.MaxMessageBytes {
		return c.bad(BadSize, "%d bytes in %d entries, over the limit MaxMessageBytes of %d", total, len(es), c.env.MaxMessageBytes)
	}
	return nil
}

// indexes refuses claims about entries that do not exist here.
func (c *checker) indexes() error {
	m, last := c.m, c.env.LastIndex
	switch m.GetType() {
	case pb.MsgHeartbeat:
		if m.GetTerm() >= c.env.Term && m.GetCommit() > last {
			return c.bad(BadCommit, "the leader counts on entry %d of this member, its log ends at %d: one of the two has lost entries", m.GetCommit(), last)
		}
	case pb.MsgAppResp:
		if c.toLeader() && m.GetIndex() > last {
			return c.bad(BadIndex, "it speaks of entry %d, the log ends at %d", m.GetIndex(), last)
		}
	}
	return nil
}

func (c *checker) snapshot() error {
	if c.m.GetType() != pb.MsgSnap {
		return nil
	}
	d, err := DescriptorOf(c.m.GetSnapshot())
	newer, isNewer := errors.AsType[*FormatError](err)
	if isNewer {
		d, err = newerHead(c.m.GetSnapshot())
	}
	switch {
	case err != nil:
		return c.bad(BadSnapshot, "%v", err)
	case d.Group != c.env.Group:
		return c.bad(BadSnapshot, "it is of group %d, this is group %d", d.Group, c.env.Group)
	case d.Index > MaxCheckpointIndex:
		return c.bad(BadSnapshot, "it is at index %d, over the limit MaxCheckpointIndex of %d", d.Index, uint64(MaxCheckpointIndex))
	case d.Term > c.m.GetTerm():
		return c.bad(BadSnapshot, "it is of term %d, the message of term %d", d.Term, c.m.GetTerm())
	case isNewer:
		return newer // as far as this build can see nothing is wrong with it
	}
	return nil
}

// confChangeOf decodes a conf change; nil for a normal entry.
func confChangeOf(e *pb.Entry) (pb.ConfChangeI, error) {
	var cc pb.ConfChangeI
	var err error
	switch e.GetType() {
	case pb.EntryNormal:
		return nil, nil
	case pb.EntryConfChange:
		v := &pb.ConfChange{}
		cc, err = v, proto.Unmarshal(e.GetData(), v)
	case pb.EntryConfChangeV2:
		v := &pb.ConfChangeV2{}
		cc, err = v, proto.Unmarshal(e.GetData(), v)
	default:
		return nil, fmt.Errorf("type %d is not known", e.GetType())
	}
	if err != nil {
		return nil, fmt.Errorf("conf change cannot be read: %w", err)
	}
	if n := len(cc.AsV2().GetChanges()); n > MaxConfMembers {
		return nil, &TooLargeError{What: "conf change", Limit: "MaxConfMembers", Max: MaxConfMembers, Got: n}
	}
	return cc, nil
}

// applyConf returns the configuration after a change, or why it cannot be made.
// raft panics on those; every member decides alike, from the same configuration.
func applyConf(cs *pb.ConfState, cc *pb.ConfChangeV2) (*pb.ConfState, error) {
	cfg, progress, err := confchange.Restore(blankChanger(), cs)
	if err != nil {
		return nil, err
	}
	t := tracker.MakeProgressTracker(confProbeInflight, 0)
	t.Config, t.Progress = cfg, progress
	changer := confchange.Changer{Tracker: t, LastIndex: 1}
	if cc.LeaveJoint() {
		cfg, progress, err = changer.LeaveJoint()
	} else if autoLeave, ok := cc.EnterJoint(); ok {
		cfg, progress, err = changer.EnterJoint(autoLeave, cc.GetChanges()...)
	} else {
		cfg, progress, err = changer.Simple(cc.GetChanges()...)
	}
	if err != nil {
		return nil, err
	}
	t.Config, t.Progress = cfg, progress
	next := t.ConfState()
	return next, checkConfState(next)
}

func blankChanger() confchange.Changer {
	return confchange.Changer{Tracker: tracker.MakeProgressTracker(confProbeInflight, 0), LastIndex: 1}
}

// checkConfState refuses a configuration that raft would panic on.
func checkConfState(cs *pb.ConfState) error {
	if len(cs.GetVoters()) == 0 {
		return errors.New("raftlog: a configuration without voters")
	}
	for _, ids := range confLists(cs) {
		if len(ids) > MaxConfMembers {
			return &TooLargeError{What: "configuration", Limit: "MaxConfMembers", Max: MaxConfMembers, Got: len(ids)}
		}
		if slices.Contains(ids, 0) {
			return errors.New("raftlog: a configuration with member id 0")
		}
	}
	cfg, progress, err := confchange.Restore(blankChanger(), cs)
	if err != nil {
		return fmt.Errorf("raftlog: not a configuration: %w", err)
	}
	t := tracker.MakeProgressTracker(confProbeInflight, 0)
	t.Config, t.Progress = cfg, progress
	if err := cs.Equivalent(t.ConfState()); err != nil {
		return fmt.Errorf("raftlog: not a configuration: %w", err)
	}
	return nil
}
