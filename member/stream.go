package member

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/internal/failure"
	"github.com/heliosdb/metadata/internal/vitals"
	"github.com/heliosdb/metadata/projections"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// stream drives one replica: one goroutine owns it, everybody else sends inputs.
type stream[D projections.Domain[D]] struct {
	member  *Member
	life    *running // that the stream is a part of
	id      metadatav1.Stream
	name    string // of the stream, for people
	group   raftlog.GroupID
	replica *replica.Replica[D]
	feed    *feed.Log
	inputs  *queue[func()]

	// Owned by the stream's goroutine: what is being sent to members that are too
	// far behind.
	sender *raftlog.Sender
	pinned map[uint64]*pin
	// What it says first; nil: nothing.
	acknowledge *raftpb.Message
	// And who leads, or should.
	hearing      hearing
	campaigns    int    // times that this member will still stand for election
	nextCampaign uint64 // number of the next time, if there is one
	seenTerm     uint64 // the term when it last looked

	soft    atomic.Pointer[raftlog.SoftState]
	status  atomic.Pointer[replica.Status]
	elected *signal // fires when role, leader or term change

	// Called on the stream's goroutine; they must not block.
	onApplied func([]*events.Change)
	onLeading func(replica.Leading)

	elections      atomic.Uint64
	checkpointTook atomic.Int64
}

// newStream restores a stream from the member's storage.
func newStream[D projections.Domain[D]](
	m *Member, life *running, id metadatav1.Stream, genesis *projections.State[D], decide replica.Decide[D],
) (*stream[D], error) {
	s := &stream[D]{
		member: m, life: life, id: id, name: events.StreamName(id), group: groupOf(id), inputs: newQueue[func()](), elected: newSignal(),
		sender: raftlog.NewSender(transferIdleTicks), pinned: make(map[uint64]*pin), hearing: hearing{last: make(map[uint64]uint64)},
		onApplied: func([]*events.Change) {}, onLeading: func(replica.Leading) {},
	}
	loaded, err := m.takeLoaded(s.group)
	if err != nil {
		return nil, err
	}
	state, checkpoint, err := replica.Restore(m.store, loaded, genesis)
	if err != nil {
		return nil, err
	}
	s.feed = feed.NewLog(feed.LogOptions{
		Stream: id, Head: state.Head.Revision, History: m.storedOf(life, id),
		MaxBytes: m.config.LogBytes,
	})
	s.replica, err = replica.New(replica.Config[D]{
		Log: raftlog.Config{
			Group: s.group, Member: m.identity.Member, Loaded: loaded, Checkpoint: checkpoint,
			ElectionTicks: ElectionTicks, HeartbeatTicks: 1, StallTicks: stallTicks,
		},
		State: state, Decide: decide, Feed: s.feed, ReadSeed: m.config.Seed,
		CheckpointRevisions: m.config.CheckpointRevisions, TrailingEntries: m.config.TrailingEntries,
		Logger: m.log,
	})
	if err != nil {
		return nil, err
	}
	s.acknowledge = m.acknowledge[s.group]
	delete(m.acknowledge, s.group)
	s.noteStatus()
	s.seenTerm = s.soft.Load().Term
	s.campaignAfter(m.firstCampaign())
	return s, nil
}

// stallTicks is after how many ticks without progress on its own disk a leader
// stops beating, so that another can take over.
const stallTicks = 2 * ElectionTicks

// transferIdleTicks is after how long without a request a member that was offered
// a checkpoint is offered it again. It covers the time to import a large model.
const transferIdleTicks = 30 * ElectionTicks

// run carries out inputs and what follows from them until ctx ends.
func (s *stream[D]) run(ctx context.Context) {
	var batch []func()
	if s.acknowledge != nil { // before raft answers anything
		s.send([]*raftpb.Message{s.acknowledge})
	}
	for {
		s.drainReady()
		select {
		case <-s.inputs.ready:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			for id := range s.pinned {
				s.endTransfer(id)
			}
			return
		}
		batch = s.inputs.take(batch)
		for _, input := range batch {
			input()
		}
	}
}

// drainReady carries out what the replica wants done.
func (s *stream[D]) drainReady() {
	for s.life.ctx.Err() == nil { // one that is condemned says nothing any more
		out, more := s.replica.Ready()
		s.carryOut(&out)
		if !more {
			return
		}
	}
}

func (s *stream[D]) carryOut(out *replica.Output[D]) {
	// The others first: what they store goes a longer way, and this member's sync may hold
	// the thread that would send it.
	if len(out.Messages) > 0 {
		s.send(out.Messages)
	}
	if out.Write != nil {
		s.life.writer.pending.push(out.Write)
	}
	if len(out.Applied) > 0 {
		s.onApplied(out.Applied)
	}
	if out.Soft != nil {
		s.noteSoft(*out.Soft)
	}
	if out.Leading != nil {
		s.onLeading(*out.Leading)
	}
	if out.Checkpoint != nil {
		s.writeCheckpoint(out.Checkpoint)
	}
	if out.Fetch != nil {
		s.fetchCheckpoint(out.Fetch)
	}
	if out.Fatal != nil {
		s.member.fail(fmt.Errorf("stream %s: %w", s.name, out.Fatal))
	}
}

// call sends an input that a caller waits for; false if too many wait already.
func (s *stream[D]) call(input func()) bool { return s.inputs.offer(input, maxInbox) }

// tick passes one tick.
func (s *stream[D]) tick(diskLow bool) {
	s.inputs.push(func() {
		s.replica.SetDiskLow(diskLow)
		s.replica.Tick()
		for _, id := range s.sender.Tick() {
			s.endTransfer(id)
			s.replica.ReportSnapshot(id, false)
		}
		s.noteStatus()
		s.listen()
	})
}

// wrote tells the replica what the storage holds now.
func (s *stream[D]) wrote(writes []*raftlog.Write) {
	s.inputs.push(func() {
		for _, w := range writes {
			s.replica.Wrote(w)
		}
	})
}

func (s *stream[D]) noteSoft(soft raftlog.SoftState) {
	s.soft.Store(&soft)
	s.noteStatus()
	s.heardAnew(soft)
	if soft.Role == raftlog.Leader {
		s.member.log.Info("this member leads", "stream", s.name, "term", soft.Term)
	}
	if soft.Leader != 0 {
		s.elections.Add(1)
	}
	s.elected.fire()
}

func (s *stream[D]) noteStatus() {
	status := s.replica.Status()
	s.status.Store(&status)
	if s.soft.Load() == nil {
		s.soft.Store(&status.SoftState)
	}
}

// leader returns the leader that this member knows; 0: none.
func (s *stream[D]) leader() uint64 { return s.soft.Load().Leader }

// submit decides a command here, if this member leads.
func (s *stream[D]) submit(ctx context.Context, q replica.Request) (proto.Message, error) {
	start := time.Now()
	answer := make(chan replica.Answer, 1)
	q.Done = func(a replica.Answer) { answer <- a }
	if !s.call(func() { s.replica.Submit(q) }) {
		return nil, tooMany(s.id)
	}
	select {
	case a := <-answer:
		s.observe(a, time.Since(start))
		return a.Reply, a.Err
	case <-ctx.Done():
		return nil, gaveUp(ctx, q.Env.RequestID)
	case <-s.life.ctx.Done():
		return nil, outcomeUnknown(q.Env.RequestID)
	}
}

// read returns a model that is fresh enough.
func (s *stream[D]) read(ctx context.Context, q replica.Read[D]) (*projections.State[D], uint64, error) {
	answer := make(chan replica.ReadAnswer[D], 1)
	q.Done = func(a replica.ReadAnswer[D]) { answer <- a }
	return s.await(ctx, q, answer)
}

func (s *stream[D]) await(
	ctx context.Context, q replica.Read[D], answer <-chan replica.ReadAnswer[D],
) (*projections.State[D], uint64, error) {
	if !s.call(func() { s.replica.Read(q) }) {
		return nil, 0, tooMany(s.id)
	}
	select {
	case a := <-answer:
		return a.State, a.Term, a.Err
	case <-ctx.Done():
		return nil, 0, gaveUp(ctx, "")
	case <-s.life.ctx.Done():
		return nil, 0, s.member.notRunning()
	}
}

// settled is read, but answers only when what the stream had published by the end of
// the round has been told to onApplied, which is after a read's answer.
func (s *stream[D]) settled(ctx context.Context, q replica.Read[D]) (*projections.State[D], uint64, error) {
	answer := make(chan replica.ReadAnswer[D], 1)
	q.Done = func(a replica.ReadAnswer[D]) { s.inputs.push(func() { answer <- a }) } // comes after this turn
	return s.await(ctx, q, answer)
}

// observe reports how a change that was proposed ended.
func (s *stream[D]) observe(a replica.Answer, took time.Duration) {
	result, _ := a.Reply.(withResult)
	switch {
	case failure.Is(a.Err, metadatav1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN):
		s.member.config.Observer.Proposal(s.id, took, vitals.Unknown)
	case a.Err == nil && result != nil && len(result.GetResult().GetEvents()) == 0 &&
		result.GetResult().GetChanged() && !result.GetResult().GetDeduplicated():
		s.member.config.Observer.Proposal(s.id, took, vitals.Committed)
	}
}

// nextElection returns a channel that is closed when role, leader or term change.
func (s *stream[D]) nextElection() <-chan struct{} { return s.elected.next() }

// drain begins to hand leadership over.
func (s *stream[D]) drain() { s.inputs.push(s.replica.Drain) }

// drained waits until leadership was handed over; false if ctx ends first.
func (s *stream[D]) drained(ctx context.Context) bool {
	for {
		over := make(chan bool, 1)
		s.inputs.push(func() { over <- s.replica.Drained() })
		select {
		case yes := <-over:
			if yes {
				return true
			}
		case <-s.life.ctx.Done():
			return true
		case <-ctx.Done():
			return false
		}
		select {
		case <-time.After(s.member.config.Tick / 4):
		case <-ctx.Done():
			return false
		}
	}
}
