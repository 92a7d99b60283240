package simulation

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/history/stored"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// stream drives one replica, as the stream of package member does: inputs wait until
// its turn comes, then all of them are carried out, and what follows from them.
type stream[D projections.Domain[D]] struct {
	m       *member
	id      metadatav1.Stream
	group   raftlog.GroupID
	genesis *projections.State[D]
	replica *replica.Replica[D]
	feed    *feed.Log
	soft    raftlog.SoftState
	inputs  []func()
	awake   bool // its turn is coming

	sender  *raftlog.Sender
	pinned  map[uint64]raftlog.CheckpointReader
	history feed.History
	past    *past[D]
	keeping *keeping
	// asksBase: another member was asked for the model right before the floor.
	asksBase bool

	// Called in the stream's turn.
	onApplied func([]*events.Change)
	onLeading func(replica.Leading)
}

// driver is a stream whose model does not matter.
type driver interface {
	streamID() metadatav1.Stream
	groupID() raftlog.GroupID
	owner() *member
	begin()
	push(input func())
	offer(input func(), limit int) bool
	waiting() int
	softState() raftlog.SoftState
	head() projections.Head
	log() *feed.Log
	hash() [32]byte
	status() replica.Status
	submit(q replica.Request)
	step(from uint64, msg *raftpb.Message)
	tick(diskLow bool)
	wrote(writes []*raftlog.Write)
	linkBroke(id uint64)
	peerGone(id uint64, rank int)
	transferLeader(to uint64)
	drain()
	drained() bool
	serveChunk(from uint64, q chunkRequest) ([]byte, error)
	serveOffer(from, round uint64, answer func(any, error))
	serveEntries(from uint64, q raftlog.EntriesRequest, answer func(any, error))
	givenUp(to uint64)
	keepBase(floor uint64)
	readPast()
	pastSource() *stored.Source
	beginningIsHurt() bool
}

// Limits of package member.
const (
	maxInbox         = 16384
	maxInboxMessages = 65536
	campaignStagger  = 15 * time.Millisecond
	campaignTries    = 6
)

func newStream[D projections.Domain[D]](m *member, id metadatav1.Stream, genesis *projections.State[D], decide replica.Decide[D]) (*stream[D], error) {
	p := &m.w.plan
	s := &stream[D]{
		m: m, id: id, group: groupOf(id), genesis: genesis,
		sender: raftlog.NewSender(p.transferTicks), pinned: map[uint64]raftlog.CheckpointReader{},
		onApplied: func([]*events.Change) {}, onLeading: func(replica.Leading) {},
	}
	loaded, err := m.store.Load(s.group)
	if err != nil {
		return nil, err
	}
	state, checkpoint, err := replica.Restore(m.store, loaded, genesis)
	if err != nil {
		return nil, err
	}
	m.w.judge.loaded(m, s.group, loaded)
	m.w.harms[m.id].began(m, loaded)
	s.history, s.keeping = newHistory(m, id), newKeeping(m, state.Head)
	s.feed = feed.NewLog(feed.LogOptions{
		Stream: id, Head: state.Head.Revision, History: s.history, MaxBytes: p.logBytes, MaxChanges: p.logChanges,
	})
	s.replica, err = replica.New(replica.Config[D]{
		Log: raftlog.Config{
			Group: s.group, Member: m.id, Loaded: loaded, Checkpoint: checkpoint,
			ElectionTicks: p.election, HeartbeatTicks: 1, StallTicks: p.stallTicks,
			MaxMessageBytes: p.messageBytes, MaxInflightMessages: p.inflightMessages,
			MaxUncommittedBytes: p.uncommittedBytes, MaxApplyBytes: p.applyBytes,
		},
		State: state, Decide: decide, Feed: s.feed, ReadSeed: m.w.rng.Uint64(),
		CheckpointRevisions: p.checkpointRevisions, TrailingEntries: p.trailingEntries,
		MaxPending: p.maxPending, MaxWaiting: p.maxWaiting, ReadRetryTicks: p.readRetryTicks, PatienceTicks: p.patienceTicks,
	})
	if err != nil {
		return nil, err
	}
	s.soft = s.replica.Status().SoftState
	s.past = newPast(s)
	return s, nil
}

// begin lets the stream run: it campaigns soon if it hears of no leader.
func (s *stream[D]) begin() {
	s.campaignAfter(s.m.w.plan.tick+time.Duration(s.m.rankWithout(0))*campaignStagger, campaignTries)
	s.wake()
	s.keeping.begin()
}

// wake has the stream's turn come soon.
func (s *stream[D]) wake() {
	if !s.awake {
		s.awake = true
		s.m.later(within(s.m.w.rng, 0, s.m.jitter()), s.turn)
	}
}

// turn carries out the inputs that wait and what follows from them.
func (s *stream[D]) turn() {
	s.awake = false
	life, inputs := s.m.life, s.inputs
	s.inputs = nil
	for _, input := range inputs {
		if s.m.life != life {
			return
		}
		input()
	}
	for more := true; more && s.m.life == life; {
		var out replica.Output[D]
		out, more = s.replica.Ready()
		s.carryOut(&out)
	}
}

func (s *stream[D]) carryOut(out *replica.Output[D]) {
	if out.Fatal != nil {
		s.m.w.violate("member stopped", "member %d, stream %s: %v", s.m.id, s.id, out.Fatal)
		return
	}
	if out.Write != nil {
		s.m.disk.store(out.Write)
	}
	if len(out.Messages) > 0 {
		s.send(out.Messages)
	}
	if len(out.Applied) > 0 || out.Installed {
		s.m.w.judge.applied(s, out.Applied, out.Installed)
		s.onApplied(out.Applied)
		s.m.feedMoved()
	}
	if out.Soft != nil {
		s.noteSoft(*out.Soft)
	}
	if out.Leading != nil {
		if out.Leading.Now {
			s.m.log("decides for %s in term %d", events.StreamName(s.id), out.Leading.Term)
		}
		s.onLeading(*out.Leading)
	}
	if out.Checkpoint != nil {
		s.writeCheckpoint(out.Checkpoint)
	}
	if out.Fetch != nil {
		s.fetchCheckpoint(out.Fetch)
	}
}

func (s *stream[D]) noteSoft(soft raftlog.SoftState) {
	before := s.soft
	s.soft = soft
	s.m.w.judge.role(s.m, s.group, soft)
	if soft.Role == raftlog.Candidate {
		s.m.w.campaigns(s.m)
	}
	if soft.Role != before.Role || soft.Leader != before.Leader {
		s.m.log("%s: %s", events.StreamName(s.id), softText(soft))
	}
}

// push adds an input.
func (s *stream[D]) push(input func()) {
	s.inputs = append(s.inputs, input)
	s.wake()
}

// offer adds an input unless too many wait.
func (s *stream[D]) offer(input func(), limit int) bool {
	if len(s.inputs) >= limit {
		return false
	}
	s.push(input)
	return true
}

func (s *stream[D]) tick(diskLow bool) {
	s.push(func() {
		s.replica.SetDiskLow(diskLow)
		s.replica.Tick()
		for _, id := range s.sender.Tick() {
			s.endTransfer(id)
			s.replica.ReportSnapshot(id, false)
		}
		s.m.w.judge.look(s)
	})
}

func (s *stream[D]) wrote(writes []*raftlog.Write) {
	s.push(func() {
		for _, w := range writes {
			s.replica.Wrote(w)
		}
	})
}

// step takes a message of another member.
func (s *stream[D]) step(from uint64, msg *raftpb.Message) {
	s.offer(func() {
		if err := s.replica.Step(from, msg); err != nil {
			if s.counted(err) {
				return
			}
			s.m.w.violate("message refused", "member %d refused %s of member %d: %v", s.m.id, msg.GetType(), from, err)
			return
		}
		if msg.GetType() == raftpb.MsgAppResp && !msg.GetReject() && s.sender.Acknowledged(from, msg.GetIndex()) {
			s.endTransfer(from)
			s.replica.ReportSnapshot(from, true)
		}
	}, maxInboxMessages)
}

// send hands messages to the network and tells raft which went nowhere.
func (s *stream[D]) send(messages []*raftpb.Message) {
	s.m.silent("sends raft messages")
	for _, msg := range messages {
		to := msg.GetTo()
		if msg.GetType() == raftpb.MsgSnap {
			s.startTransfer(to, msg.GetSnapshot().GetMetadata().GetIndex())
		}
		s.m.w.trace.detail(s.m.w.now, s.m.name(), "%s to m%d: %s", events.StreamName(s.id), to, messageText(msg))
		if s.m.linkDown[to] {
			if msg.GetType() == raftpb.MsgSnap {
				s.transferFailed(to)
			}
			s.replica.ReportUnreachable(to)
			continue
		}
		from, group := s.m.id, s.group
		target := s.m.w.member(to)
		life := target.life // a connection ends with the processes at its ends
		msg = proto.Clone(msg).(*raftpb.Message)
		deliver := func() {
			if target.life == life {
				target.message(from, group, proto.Clone(msg).(*raftpb.Message))
			}
		}
		if msg.GetType() != raftpb.MsgReadIndexResp || !s.m.w.delayAnswer(target, deliver) {
			s.m.w.net.send(end(from), end(to), false, deliver)
		}
	}
}

// linkBroke says that what was sent to a member before may be lost.
func (s *stream[D]) linkBroke(id uint64) {
	s.push(func() {
		if !s.replica.Offered(id) {
			s.transferFailed(id)
		}
		s.replica.ReportUnreachable(id)
	})
}

// submit decides a command here, if this member leads.
func (s *stream[D]) submit(q replica.Request) {
	if !s.offer(func() { s.replica.Submit(q) }, maxInbox) {
		q.Done(replica.Answer{Err: tooMany(s.id)})
	}
}

// read asks for a model that is fresh enough.
func (s *stream[D]) read(q replica.Read[D]) {
	if !s.offer(func() { s.replica.Read(q) }, maxInbox) {
		q.Done(replica.ReadAnswer[D]{Err: tooMany(s.id)})
	}
}

func (s *stream[D]) transferLeader(to uint64) {
	s.push(func() { s.replica.TransferLeader(to) })
}

func (s *stream[D]) drain()                       { s.push(s.replica.Drain) }
func (s *stream[D]) drained() bool                { return s.replica.Drained() }
func (s *stream[D]) streamID() metadatav1.Stream  { return s.id }
func (s *stream[D]) groupID() raftlog.GroupID     { return s.group }
func (s *stream[D]) owner() *member               { return s.m }
func (s *stream[D]) pastSource() *stored.Source   { return s.past.source }
func (s *stream[D]) waiting() int                 { return len(s.inputs) }
func (s *stream[D]) softState() raftlog.SoftState { return s.soft }
func (s *stream[D]) head() projections.Head       { return s.replica.View().Head }
func (s *stream[D]) log() *feed.Log               { return s.feed }
func (s *stream[D]) hash() [32]byte               { return s.replica.View().Hash() }
func (s *stream[D]) status() replica.Status       { return s.replica.Status() }
