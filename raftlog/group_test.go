package raftlog_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/cryptotest"

	"github.com/heliosdb/metadata/raftlog"
	pb "go.etcd.io/raft/v3/raftpb"
)

// elected returns a settled cluster of three in which member 1 leads.
func elected(t *testing.T) *cluster {
	t.Helper()
	cryptotest.SetGlobalRandom(t, 1)
	c := newCluster(t, 1, 3)
	c.campaign(1)
	return c
}

func (c *cluster) campaign(id uint64) {
	c.t.Helper()
	m := c.members[id]
	if err := m.g.Campaign(); err != nil {
		c.t.Fatal(err)
	}
	c.drain(m)
	c.settle(1)
	if l := c.leader(); l == nil || l.id != id {
		c.t.Fatalf("member %d does not lead: %+v", id, m.g.Status())
	}
}

// TestACandidateStoresItsTermFirst: a candidate whose disk is slow wins by the votes of
// the others, hands an entry to one of them and crashes with nothing stored. If it had
// asked for votes before its term was stored, it would win the same term again and
// give the entry's place to another one, and the one who has the first would take
// both for the same.
func TestACandidateStoresItsTermFirst(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 1)
	c := newCluster(t, 1, 3)
	m := c.members[1]
	if err := m.g.Campaign(); err != nil {
		t.Fatal(err)
	}
	c.drain(m)
	c.exceptOn(m)
	if len(m.writes) == 0 || m.writes[len(m.writes)-1].HardState == nil {
		t.Fatalf("member 1 did not become a candidate: %+v", m.g.Status())
	}
	if st := m.g.Status(); st.Role != raftlog.Candidate {
		t.Fatalf("nothing of its term is stored, yet it is past asking for votes: %+v", st)
	}
	c.store(m, len(m.writes))
	c.exceptOn(m)
	if st := m.g.Status(); st.Role != raftlog.Leader {
		t.Fatalf("its term is stored, yet it does not win: %+v", st)
	}
}

// exceptOn delivers and stores whatever is under way, but stores nothing on m.
func (c *cluster) exceptOn(m *member) {
	for busy := true; busy; {
		busy = len(c.net) > 0
		for len(c.net) > 0 {
			c.deliver(0, false)
		}
		for _, id := range c.ids {
			if other := c.members[id]; other != m && len(other.writes) > 0 {
				c.store(other, len(other.writes))
				busy = true
			}
		}
	}
}

// isolate cuts a member off.
func (c *cluster) isolate(id uint64) {
	for _, other := range c.ids {
		if other != id {
			c.cut[[2]uint64{id, other}], c.cut[[2]uint64{other, id}] = true, true
		}
	}
}

func (c *cluster) mustPropose(id uint64, n int) {
	c.t.Helper()
	for i := range n {
		if err := c.propose(c.members[id], fmt.Sprintf("m%d-%d", id, i)); err != nil {
			c.t.Fatal(err)
		}
		c.settle(1)
	}
}

func TestElectionAndProposals(t *testing.T) {
	c := elected(t)
	c.mustPropose(1, 5)
	c.settle(3)
	c.converged()
	if seq := c.members[2].model.seq; seq != 5 {
		t.Fatalf("member 2 folded %d proposals, want 5", seq)
	}
	st := c.members[1].g.Status()
	if st.Role != raftlog.Leader || st.Leader != 1 || st.Term != 2 || st.Commit != 7 || st.Applied != 7 || st.Last != 7 || st.First != 2 {
		t.Fatalf("status of the leader: %+v", st)
	}
	for _, id := range []uint64{2, 3} {
		if p := st.Progress[id]; p.Match != 7 || p.State != "replicate" || !p.RecentActive {
			t.Fatalf("progress of member %d: %+v", id, p)
		}
		if err := c.propose(c.members[id], "x"); !errors.Is(err, raftlog.ErrNotLeader) {
			t.Fatalf("proposal on a follower: %v", err)
		}
		if err := c.members[id].g.TransferLeader(3); !errors.Is(err, raftlog.ErrNotLeader) {
			t.Fatalf("transfer on a follower: %v", err)
		}
	}
	if err := c.propose(c.members[1], ""); err == nil {
		t.Fatal("an empty proposal was taken")
	}
	var large *raftlog.TooLargeError
	if err := c.propose(c.members[1], string(make([]byte, raftlog.DefaultMaxEntryBytes+1))); !errors.As(err, &large) {
		t.Fatalf("a proposal over the limit: %v", err)
	}
}

// TestProposalsAreBounded proposes without anything being stored.
func TestProposalsAreBounded(t *testing.T) {
	c := elected(t)
	m, taken := c.members[1], 0
	for range 1000 {
		err := c.propose(m, string(make([]byte, 100)))
		if errors.Is(err, raftlog.ErrProposalDropped) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		taken++
	}
	if taken == 0 || taken > 20 {
		t.Fatalf("%d proposals of 100 bytes were taken, the limit is 2000 bytes", taken)
	}
	c.settle(3)
	if err := c.propose(m, "again"); err != nil {
		t.Fatalf("proposal after everything was folded: %v", err)
	}
}

func TestFastFailover(t *testing.T) {
	c := elected(t)
	c.mustPropose(1, 3)
	c.crash(c.members[1])
	c.net = nil // its last heartbeats
	if err := c.members[3].g.ForgetLeader(); err != nil {
		t.Fatal(err)
	}
	c.drain(c.members[3])
	c.campaign(2) // settles for one tick: without ForgetLeader it takes an election time-out
	c.mustPropose(2, 2)
	c.heal()
	c.settle(5)
	c.converged()
	if seq := c.members[1].model.seq; seq != 5 {
		t.Fatalf("the old leader folded %d proposals, want 5", seq)
	}
}

func TestIsolatedLeader(t *testing.T) {
	c := elected(t)
	c.mustPropose(1, 1)
	c.isolate(1)
	if err := c.propose(c.members[1], "lost"); err != nil {
		t.Fatal(err)
	}
	old := c.members[1]
	c.readID++
	if err := old.g.ReadIndex(c.readID); err != nil {
		t.Fatal(err)
	}
	old.reads[c.readID] = 0
	c.settle(60)
	if old.soft.Role == raftlog.Leader {
		t.Fatal("a leader without a majority still leads after 60 ticks")
	}
	l := c.leader()
	if l == nil || l.id == 1 {
		t.Fatal("the others elected nobody in 60 ticks")
	}
	c.mustPropose(l.id, 1)
	if len(old.reads) != 1 {
		t.Fatal("an isolated leader answered a read")
	}
	c.heal()
	c.settle(60)
	c.converged()
	if len(old.reads) != 1 {
		t.Fatal("a read of an older term was answered")
	}
	for _, what := range c.log {
		if what == `2:"lost":<nil>` {
			t.Fatal("what an isolated leader proposed was committed")
		}
	}
}

func TestReadIndex(t *testing.T) {
	c := newCluster(t, 1, 3)
	if err := c.members[1].g.ReadIndex(1); !errors.Is(err, raftlog.ErrNoLeader) {
		t.Fatalf("a read without a leader: %v", err)
	}
	c = elected(t)
	c.mustPropose(1, 2)
	for i, id := range c.ids { // on the leader and on followers
		m := c.members[id]
		if err := m.g.ReadIndex(uint64(i + 1)); err != nil {
			t.Fatal(err)
		}
		m.reads[uint64(i+1)] = c.maxIndex
		c.drain(m)
		c.settle(3)
		if len(m.reads) != 0 || c.bad != nil {
			t.Fatalf("member %d: read not answered, or wrongly: %v", id, c.bad)
		}
		if err := m.g.ReadIndex(uint64(i + 1)); err == nil {
			t.Fatal("a read id was used twice")
		}
	}
}

// TestReadIndexIsNotPassedOn asks a follower for a read, as a member does that has not
// heard of the new leader. Passed on to that leader it would carry the name of its first
// sender, over the connection of another: what an honest member never sends.
func TestReadIndexIsNotPassedOn(t *testing.T) {
	c := elected(t)
	ask := &pb.Message{Type: pb.MsgReadIndex.Enum(), From: new(uint64(3)), To: new(uint64(2)), Entries: []*pb.Entry{{Data: make([]byte, raftlog.ReadContextBytes)}}}
	if err := c.members[2].g.Step(3, ask); err != nil {
		t.Fatal(err)
	}
	c.drain(c.members[2])
	for _, m := range c.net {
		if m.GetType() == pb.MsgReadIndex {
			t.Errorf("member 2 sent to member %d in the name of member %d: %s", m.GetTo(), m.GetFrom(), m.GetType())
		}
	}
}

func TestTransferLeader(t *testing.T) {
	c := elected(t)
	c.mustPropose(1, 1)
	m := c.members[1]
	c.isolate(3)
	if err := m.g.TransferLeader(3); err != nil {
		t.Fatal(err)
	}
	c.drain(m)
	if st := m.g.Status(); st.Transferee != 3 {
		t.Fatalf("leadership goes to %d, want 3", st.Transferee)
	}
	if err := c.propose(m, "x"); !errors.Is(err, raftlog.ErrProposalDropped) {
		t.Fatalf("proposal during a transfer: %v", err)
	}
	c.settle(1)
	c.heal()
	c.settle(15) // the first try is given up: its message was lost
	if err := m.g.TransferLeader(2); err != nil {
		t.Fatal(err)
	}
	c.drain(m)
	c.settle(2)
	if l := c.leader(); l == nil || l.id != 2 {
		t.Fatal("member 2 does not lead after the transfer")
	}
	c.mustPropose(2, 1)
	c.settle(2)
	c.converged()
}

// TestStalledDisk lets a leader's writes hang: it stops its heartbeats, so that the
// others elect a new one.
func TestStalledDisk(t *testing.T) {
	c := elected(t)
	c.mustPropose(1, 1)
	m := c.members[1]
	if err := c.propose(m, "hangs"); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		for len(c.net) > 0 {
			c.deliver(0, false)
		}
		for _, other := range c.sorted() {
			if other != m {
				c.store(other, len(other.writes))
				c.apply(other, len(other.commits))
			}
			c.tick(other)
		}
		if m.soft.Role == raftlog.Leader && m.g.Status().Stalled {
			if err := c.propose(m, "x"); !errors.Is(err, raftlog.ErrProposalDropped) {
				t.Fatalf("proposal on a stalled leader: %v", err)
			}
		}
	}
	if l := c.leader(); l == nil || l == m || m.soft.Role == raftlog.Leader {
		t.Fatalf("a leader that cannot write still leads: %+v", m.g.Status())
	}
	c.settle(10)
	c.converged()
}

// TestSnapshot brings back a member whose entries the others have cut.
func TestSnapshot(t *testing.T) {
	c := elected(t)
	c.crash(c.members[3])
	c.mustPropose(1, 10)
	for _, id := range []uint64{1, 2} {
		c.checkpoint(c.members[id], 0)
	}
	c.settle(1)
	if st := c.members[1].g.Status(); st.First != 13 || st.Last != 12 {
		t.Fatalf("log after the cut: %d to %d", st.First, st.Last)
	}
	c.mustPropose(1, 2)
	c.heal()
	c.settle(30)
	c.converged()
	if c.counts["install"] != 1 {
		t.Fatalf("%d snapshots were installed, want 1", c.counts["install"])
	}
	first, last, err := c.members[3].store.HistoryBounds(testGroup)
	if err != nil || first != 11 || last != 12 {
		t.Fatalf("history of the member that came by snapshot: %d to %d, %v", first, last, err)
	}
}

func TestCutRefused(t *testing.T) {
	c := elected(t)
	c.mustPropose(1, 3)
	g := c.members[1].g
	ahead := emptyCheckpoint(t, 99, 2)
	if err := g.Cut(1, ahead); err == nil {
		t.Fatal("a checkpoint ahead of what is folded was taken")
	}
	if err := g.Cut(4, emptyCheckpoint(t, 3, 2)); err == nil {
		t.Fatal("a cut beyond the checkpoint was taken")
	}
	if err := g.Cut(1, raftlog.GenesisDescriptor(testGroup, c.ids)); err != nil {
		t.Fatalf("an old checkpoint: %v", err)
	}
	if _, more := g.Ready(); more {
		t.Fatal("an old checkpoint changed something")
	}
}

// TestRestartFromOlderCheckpoint starts from the one before the newest: entries after
// it come again.
func TestRestartFromOlderCheckpoint(t *testing.T) {
	c := elected(t)
	c.mustPropose(1, 3)
	m := c.members[2]
	c.checkpoint(m, 100)
	c.mustPropose(1, 3)
	c.checkpoint(m, 100)
	c.settle(2)
	l, err := m.store.Load(testGroup)
	if err != nil || len(l.Checkpoints) != 2 || l.Checkpoints[0].Index != 5 || l.Newest().Index != 8 {
		t.Fatalf("loaded %+v, %v", l, err)
	}
	g, err := raftlog.NewGroup(raftlog.Config{Group: testGroup, Member: 2, Loaded: l, Checkpoint: &l.Checkpoints[0]})
	if err != nil {
		t.Fatal(err)
	}
	var got []uint64
	for {
		out, more := g.Ready()
		if !more {
			break
		}
		for _, e := range out.Committed {
			got = append(got, e.Index)
		}
	}
	if fmt.Sprint(got) != "[6 7 8]" {
		t.Fatalf("entries after the checkpoint at 5: %v", got)
	}
}

func TestNewGroupRefuses(t *testing.T) {
	c := newCluster(t, 1, 1)
	l, err := c.members[1].store.Load(testGroup)
	if err != nil {
		t.Fatal(err)
	}
	good := raftlog.Config{Group: testGroup, Member: 1, Loaded: l}
	far := l.Newest()
	far.Index = 50
	for name, change := range map[string]func(*raftlog.Config){
		"no member":        func(c *raftlog.Config) { c.Member = 0 },
		"no log":           func(c *raftlog.Config) { c.Loaded = nil },
		"other group":      func(c *raftlog.Config) { c.Group = 9 },
		"ticks":            func(c *raftlog.Config) { c.ElectionTicks, c.HeartbeatTicks = 5, 5 },
		"inflight":         func(c *raftlog.Config) { c.MaxInflightBytes = 1 },
		"checkpoint ahead": func(c *raftlog.Config) { c.Checkpoint = &far },
		"commit ahead": func(c *raftlog.Config) {
			short := *l
			short.HardState.Commit = 9
			c.Loaded = &short
		},
	} {
		cfg := good
		change(&cfg)
		if _, err := raftlog.NewGroup(cfg); err == nil {
			t.Errorf("%s: a group was started", name)
		}
	}
}

// TestConfChange removes a member, adds it back as a learner, and refuses nonsense.
func TestConfChange(t *testing.T) {
	c := elected(t)
	c.tolerate = raftlog.BadSender // the last messages of a removed member
	change := func(kind pb.ConfChangeType, id uint64) error {
		err := c.members[1].g.ProposeConfChange(&pb.ConfChangeV2{Changes: []*pb.ConfChangeSingle{{Type: kind.Enum(), NodeId: new(id)}}})
		c.drain(c.members[1])
		c.settle(4)
		return err
	}
	if err := change(pb.ConfChangeRemoveNode, 3); err != nil {
		t.Fatal(err)
	}
	if conf := c.members[2].conf; fmt.Sprint(conf.Voters) != "[1 2]" {
		t.Fatalf("voters after removing member 3: %v", conf.Voters)
	}
	stray := msg(pb.MsgPreVote, 3, 9)
	var bad *raftlog.BadMessageError
	if err := c.members[1].g.Step(3, stray); !errors.As(err, &bad) || bad.Reason != raftlog.BadSender {
		t.Fatalf("a message of a removed member: %v", err)
	}
	c.members[1].g.SetPeers([]uint64{3})
	if err := c.members[1].g.Step(3, stray); err != nil {
		t.Fatalf("a message of a member about to join: %v", err)
	}
	if err := change(pb.ConfChangeAddLearnerNode, 3); err != nil {
		t.Fatal(err)
	}
	if conf := c.members[1].g.Status().Conf; fmt.Sprint(conf.Learners) != "[3]" {
		t.Fatalf("learners: %v", conf.Learners)
	}
	if err := change(pb.ConfChangeType(9), 1); err == nil {
		t.Fatal("an unknown change was proposed")
	}
	c.mustPropose(1, 1)
	if c.bad != nil {
		t.Fatal(c.bad)
	}
}

// TestARefusalOfWhatWasAcknowledged: a member with an old copy of its log refuses what
// follows entries that it has acknowledged. That must not have the leader send the same
// again for each such answer.
func TestARefusalOfWhatWasAcknowledged(t *testing.T) {
	c := elected(t)
	c.mustPropose(1, 5)
	c.settle(3)
	leader := c.members[1]
	match := leader.g.Status().Progress[3].Match
	leader.g.ReportUnreachable(3)
	if p := leader.g.Status().Progress[3]; p.State != "probe" || match < 5 {
		t.Fatalf("progress of member 3: %+v", p)
	}
	c.isolate(3)
	if err := c.propose(leader, "next"); err != nil {
		t.Fatal(err)
	}
	c.settle(1)
	c.net = nil
	refusal := &pb.Message{
		Type: pb.MsgAppResp.Enum(), From: new(uint64(3)), To: new(uint64(1)), Term: new(leader.soft.Term),
		Index: &match, Reject: new(true), RejectHint: new(uint64(2)), LogTerm: new(uint64(1)),
	}
	for range 3 {
		if err := leader.g.Step(3, refusal); err != nil {
			t.Fatal(err)
		}
		c.drain(leader)
	}
	if len(c.net) > 0 {
		t.Fatalf("%d messages for refusals of what was acknowledged", len(c.net))
	}
	c.heal()
	c.settle(5)
	c.converged()
}
