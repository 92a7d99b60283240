package raftlog

import (
	"encoding/binary"
	"errors"
	"maps"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Ready returns what has to be done next, and false when there is nothing. Call it
// after each input, or after several, until it returns false.
func (g *Group) Ready() (Output, bool) {
	var out Output
	more := g.rn.HasReady() || len(g.outbox) > 0
	changed := false
	if g.rn.HasReady() {
		rd := g.rn.Ready()
		changed = rd.SoftState != nil || rd.HardState != nil // asking for the state each time would allocate
		g.route(&out, rd)
	}
	out.Messages = append(out.Messages, g.outbox...)
	g.outbox = nil
	g.flushQueued(&out)
	if out.Write != nil {
		out.Write.handedOut = g.ticks
		g.inflight = append(g.inflight, out.Write)
		more = true
	}
	if changed {
		if now := g.softState(); now != g.soft {
			g.soft = now
			out.Soft, more = &now, true
		}
	}
	return out, more
}

// route sorts the parts of a raft Ready by where they go.
func (g *Group) route(out *Output, rd raft.Ready) {
	stalled := g.stalled()
	var votes []*pb.Message
	for _, m := range rd.Messages {
		switch {
		case m.GetType() == pb.MsgVote:
			votes = append(votes, m)
		case m.GetTo() == raft.LocalAppendThread:
			g.takeAppend(out, m)
		case m.GetTo() == raft.LocalApplyThread:
			g.takeApply(out, m)
		case m.GetType() == pb.MsgHeartbeat:
			if !stalled { // a leader that cannot write must not look alive
				g.noteContext(m)
				out.Messages = append(out.Messages, m)
			}
		default:
			out.Messages = append(out.Messages, m)
		}
	}
	g.holdVotes(out, votes)
	if len(rd.ReadStates) == 0 {
		return
	}
	term := g.rn.BasicStatus().GetTerm()
	for _, rs := range rd.ReadStates {
		// A larger id than the last one was asked for by an earlier process: its index may
		// be older than the reads of this one.
		if id := readContext(rs.RequestCtx); g.readTerm == term && id >= g.readFloor && id <= g.readLast {
			out.ReadStates = append(out.ReadStates, ReadState{ID: id, Index: rs.Index, Term: term})
		}
	}
}

// holdVotes lets a candidate ask for votes only when its own term is stored. raft would
// ask at once. Then a candidate could win by the votes of others, crash before it
// has stored anything, and win the same term again with another log: the same index
// and term would name two entries, and raft takes those for equal.
func (g *Group) holdVotes(out *Output, votes []*pb.Message) {
	switch {
	case len(votes) == 0:
	case out.Write != nil && out.Write.HardState != nil:
		out.Write.responses = append(out.Write.responses, votes...)
	default:
		g.must("campaign", errors.New("a candidate asks for votes without storing its term"))
	}
}

func (g *Group) takeAppend(out *Output, m *pb.Message) {
	w := &Write{Group: g.cfg.Group, Entries: m.GetEntries(), responses: m.GetResponses()}
	if m.Term != nil {
		hs := HardState{Term: m.GetTerm(), Vote: m.GetVote(), Commit: m.GetCommit()}
		w.HardState = &hs
		w.Sync = hs.Term != g.hard.Term || hs.Vote != g.hard.Vote
		g.hard = hs
	}
	if s := m.GetSnapshot(); s != nil {
		d, err := DescriptorOf(s)
		g.must("snapshot", err)
		w.Install, w.Sync = &d, true
		g.last, g.delivered, g.newest, g.conf = d.Index, d.Index, d.Index, d.ConfState
		// What was queued for the log that is being replaced is void.
		g.queued.hard, g.queued.checkpoint, g.queued.cutTo = nil, nil, 0
	}
	if n := len(w.Entries); n > 0 {
		w.Sync = true
		g.last = w.Entries[n-1].GetIndex()
	}
	if g.keepBack(out, w) {
		return
	}
	if w.HardState == nil {
		w.HardState = g.queued.hard
	}
	g.queued.hard = nil
	out.Write = w
}

// keepBack lets a Write with nothing but a commit index, as it follows each entry, wait for
// the next one: it need not be durable, and the driver is spared a round trip through its
// writer. Answers that come with it promise what was written before, and go out at once
// if that is stored.
func (g *Group) keepBack(out *Output, w *Write) bool {
	if w.Sync || len(w.Entries) > 0 || len(w.responses) > 0 && len(g.inflight) > 0 {
		return false
	}
	for _, m := range w.responses {
		if m.GetTo() == g.cfg.Member {
			return false
		}
	}
	out.Messages = append(out.Messages, w.responses...)
	if w.HardState != nil {
		g.queued.hard = w.HardState
	}
	return true
}

// flushQueued adds what is queued to the Write, or makes one for it when it is due.
func (g *Group) flushQueued(out *Output) {
	q := g.queued
	switch {
	case out.Write == nil && !q.due():
		return
	case out.Write == nil:
		out.Write = &Write{Group: g.cfg.Group, HardState: q.hard}
	}
	w := out.Write
	w.History, w.Checkpoint, w.CutTo = q.history, q.checkpoint, q.cutTo
	w.Sync = w.Sync || q.checkpoint != nil
	g.queued = queuedWrite{}
}

func (g *Group) takeApply(out *Output, m *pb.Message) {
	es := m.GetEntries()
	g.applying = append(g.applying, applyBatch{last: es[len(es)-1].GetIndex(), responses: m.GetResponses()})
	for _, e := range es {
		if e.GetIndex() <= g.delivered {
			continue // a snapshot overtook it
		}
		g.delivered = e.GetIndex()
		out.Committed = append(out.Committed, g.committed(e))
	}
}

// committed makes conf changes effective and strips them of their bytes.
func (g *Group) committed(e *pb.Entry) Entry {
	c := Entry{Index: e.GetIndex(), Term: e.GetTerm()}
	if e.GetType() == pb.EntryNormal {
		if len(e.GetData()) > 0 {
			c.Data = e.GetData()
		}
		return c
	}
	cc, err := confChangeOf(e)
	g.must("conf change", err)
	if _, err := applyConf(g.conf, cc.AsV2()); err != nil {
		g.cfg.Logger.Warn("conf change skipped: it cannot be made", "group", g.cfg.Group, "index", c.Index, "error", err)
		return c
	}
	g.conf = g.rn.ApplyConfChange(cc)
	c.Conf = proto.Clone(g.conf).(*pb.ConfState)
	return c
}

// stalled reports that the oldest Write under way is too old.
func (g *Group) stalled() bool {
	return len(g.inflight) > 0 && g.ticks-g.inflight[0].handedOut >= uint64(g.cfg.StallTicks)
}

func (g *Group) noteContext(m *pb.Message) {
	if g.contextTerm != m.GetTerm() {
		g.contextTerm, g.readContext = m.GetTerm(), 0
	}
	if ctx := m.GetContext(); len(ctx) > 0 {
		g.readContext = max(g.readContext, readContext(ctx))
	}
}

func (g *Group) contextOf(term uint64) uint64 {
	if g.contextTerm != term {
		return 0
	}
	return g.readContext
}

// readContext reads the number in a context of ReadContextBytes.
func readContext(ctx []byte) uint64 { return binary.LittleEndian.Uint64(ctx) }

func (g *Group) softState() SoftState {
	st := g.rn.BasicStatus()
	s := SoftState{Leader: st.Lead, Term: st.GetTerm()}
	switch st.RaftState {
	case raft.StateLeader:
		s.Role = Leader
	case raft.StateCandidate:
		s.Role = Candidate
	case raft.StatePreCandidate:
		s.Role = PreCandidate
	default:
		s.Role = Follower
	}
	return s
}

// Status returns what operators and the driver want to know. It allocates.
func (g *Group) Status() Status {
	st := g.rn.BasicStatus()
	first, _ := g.memory.FirstIndex() // MemoryStorage has no error here
	s := Status{
		SoftState: g.softState(), Commit: st.GetCommit(), Applied: g.applied,
		First: first, Last: g.last, LogBytes: g.memory.bytes, Conf: proto.Clone(g.conf).(*pb.ConfState),
		Transferee: st.LeadTransferee, Unwritten: len(g.inflight), Stalled: g.stalled(),
		Refused: maps.Clone(g.refused),
	}
	if s.Role != Leader {
		return s
	}
	s.Progress = map[uint64]Progress{}
	for id, p := range g.rn.Status().Progress {
		s.Progress[id] = Progress{
			Match: p.Match, Next: p.Next, State: progressState(p.State), RecentActive: p.RecentActive, Learner: p.IsLearner,
		}
	}
	return s
}
