package raftlog

import (
	"fmt"
	"slices"
	"strings"

	pb "go.etcd.io/raft/v3/raftpb"
)

// Rebuild brings one group of a member in quarantine back: the member lost entries
// that it had acknowledged, its vote, or all of it, and must neither vote nor
// acknowledge before it holds again what others may count on. It is a step machine:
// Ready says what to send and to store, the other methods take answers and time. The
// caller runs no Group meanwhile, and may stop or crash anywhere: the storage stays
// condemned and everything begins again.
//
// It asks first, and stores nothing. Only when the machines of all groups have an
// offer that they may follow (Found) does the caller set the directory aside, with
// Storage.BeginRebuild, and lets them take it (Begin): where a bad build, or a wrong look at the disk,
// condemns a majority, nobody offers and every directory stays as it is. When all are Done,
// Storage.EndRebuild is due.
//
// It asks all other voters. Only a leader offers, with its term T and the last index
// L of its log, after a ReadIndex round that began after the question: a quorum Q, without the
// member in quarantine X, was in term T after X had ceased to act, as it does once it is
// condemned: its directory has no part in that. X takes the
// leader's newest checkpoint and its entries up to L, and the hard state {T, vote for
// that leader}, or its promised term and vote if that term is above T.
//
// Why nothing is lost. Let e be an entry that X acknowledged in term t, and E the
// quorum that elected the leader of t. E is in term t or above for ever and meets Q in
// somebody other than X, who was in term T after X ceased. So t <= T: no leader of a
// term above T had been elected before X ceased.
//   - t = T: the leader sent e itself, and its log only grows: e's index is at most L.
//   - t < T, and e was or will be committed in t: the leader of T has it in its log (leader
//     completeness: the quorums are of acknowledgements and votes that X gave while it
//     still had everything).
//   - t < T, and e is not in the log of the leader of T: e is not committed and never
//     will be. X need not have it.
//
// So L is far enough, whatever the floor says. A floor above L is honest: X
// acknowledged, or merely stored, entries that lost against those of a newer leader.
// Nobody counts on them, and waiting until the log has grown past them could take for
// ever.
//
// Why nobody is elected wrongly. X may have voted in a term t' above T, for a candidate
// who has not won yet. If the floor knows, X goes back to t' with that vote: it votes
// for nobody else there, and acknowledges nothing of T any more, so that no entry is
// committed in T behind the candidate's back by an X that has already helped it. If
// the floor does not know, t' <= T has to be certain: with five members, Y could be
// elected in t' by {Y, X, B} with X's forgotten vote, without an entry that {C, X, A}
// commit in T with the rebuilt X. A candidate's own term is t' or above, so X waits until it
// has heard, after its quarantine began, from every other voter, and no term is above
// T, or that the voter is itself in quarantine: then its candidacy is gone. With up to four members the
// leader's quorum is everybody else and has said so already. The messages of a
// member's life before its quarantine must not reach another life of the
// receiver: the connections of a process end with it.
//
// Why the end may come late. What X holds then is what a follower of term T held
// that heard nothing since the offer. A leader deposed meanwhile changes nothing in that;
// only the entries have to come from the leader while it leads T.
type Rebuild struct {
	cfg   RebuildConfig
	round uint64 // newest one of questions; the first one is Seed+1
	age   int    // ticks in this phase, or since the last question

	voters map[uint64]*voter // all others
	begun  bool              // what is offered may be stored
	phase  rebuildPhase
	from   uint64
	offer  *Offer // the best of this phase; the one followed from transferring on

	base     *Descriptor // checkpoint installed; nil: none
	have     LogStart    // up to where the log is stored
	receiver *Receiver
	asked    int           // how often the next batch was asked for
	resend   bool          // ask for it now
	out      RebuildOutput // its requests

	// What the storage has to do next. One part at a time is under way.
	busy   bool
	open   bool // a staged file is
	abort  bool
	stage  *Descriptor
	chunks [][]byte
	write  *Write
	// installing is set while the Write that installs the checkpoint is not stored.
	installing bool

	why string // it began again the last time
}

type rebuildPhase uint8

const (
	rebuildAsking rebuildPhase = iota
	rebuildTransferring
	rebuildInstalling
	rebuildFetching
	rebuildFinishing
	rebuildDone
)

// voter is what one of the others said.
type voter struct {
	heard       bool   // anything, ever
	term        uint64 // of its first answer outside quarantine
	termKnown   bool
	quarantined bool   // in its last answer
	round       uint64 // of its last answer
	leader      uint64 // as it knew then
	newer       *FormatError
}

// NewRebuild starts with questions.
func NewRebuild(cfg RebuildConfig) (*Rebuild, error) {
	for v, d := range map[*int]int{
		&cfg.AskTicks: DefaultAskTicks, &cfg.EntriesTicks: DefaultEntriesTicks, &cfg.EntriesTries: DefaultEntriesTries,
		&cfg.BatchBytes: MaxRebuildBytes, &cfg.MaxEntryBytes: DefaultMaxEntryBytes,
	} {
		if *v == 0 {
			*v = d
		}
	}
	r := &Rebuild{
		cfg: cfg, round: cfg.Seed, age: cfg.AskTicks, voters: map[uint64]*voter{},
		have: LogStart{Index: GenesisIndex, Term: GenesisTerm},
	}
	for _, id := range cfg.Voters {
		if id != cfg.Member {
			r.voters[id] = &voter{}
		}
	}
	if cfg.Group == 0 || !slices.Contains(cfg.Voters, cfg.Member) || len(r.voters) == 0 {
		return nil, fmt.Errorf("raftlog: group %d of member %d cannot be rebuilt from members %v: it takes others", cfg.Group, cfg.Member, cfg.Voters)
	}
	return r, nil
}

// Found reports that it has an offer that it may follow, and waits for Begin. It may
// lose it again: an offer that is not followed is asked for anew in a while.
func (r *Rebuild) Found() bool {
	return r.phase == rebuildAsking && r.offer != nil && r.certain()
}

// Begin says that Storage.BeginRebuild was called, because all groups had Found an
// offer: what is offered now and from now on is taken.
func (r *Rebuild) Begin() {
	r.begun = true
	if r.Found() {
		r.follow()
	}
}

// Acknowledgement is what the member tells the leader that it was rebuilt from, as soon as
// it is Done, EndRebuild is over and its Group runs again: that it has the log up to the end
// that was offered, as any follower of that term would. Without it a leader that has not
// heard the member for long sends a checkpoint again. It is nil if the member has promised a
// later term; later it may come at any time, like every message that was under way.
func (r *Rebuild) Acknowledgement() *pb.Message {
	if !r.Done() || r.hardState().Term != r.offer.Term {
		return nil
	}
	return &pb.Message{
		Type: pb.MsgAppResp.Enum(), From: new(r.cfg.Member), To: new(r.from), Term: new(r.offer.Term), Index: new(r.offer.Last),
	}
}

// Done reports that everything is stored: when all groups are, Storage.EndRebuild is due.
func (r *Rebuild) Done() bool { return r.phase == rebuildDone }

// Ready returns what has to be done next, and false when there is nothing. Call it
// after each input until it returns false.
func (r *Rebuild) Ready() (RebuildOutput, bool) {
	r.next()
	out := r.out
	r.out = RebuildOutput{}
	r.busy = r.busy || out.Stores()
	return out, !out.idle()
}

// next fills out with what the phase wants.
func (r *Rebuild) next() {
	switch {
	case r.phase == rebuildAsking && r.age >= r.cfg.AskTicks:
		r.ask()
	case r.phase == rebuildTransferring:
		r.out.Chunks = r.receiver.Requests()
	case r.phase == rebuildFetching && r.resend && !r.busy && r.write == nil:
		r.askEntries()
	}
	if r.busy {
		return
	}
	r.out.Abort, r.out.Stage, r.out.Append, r.out.Write = r.abort && r.open, r.stage, r.chunks, r.write
	r.open = (r.open && !r.abort) || r.stage != nil
	r.abort, r.stage, r.chunks, r.write = false, nil, nil, nil
	if r.phase == rebuildTransferring && r.receiver.Done() {
		r.out.Commit, r.open, r.phase = true, false, rebuildInstalling
	}
}

func (r *Rebuild) ask() {
	r.round++
	r.age, r.offer = 0, nil
	for _, id := range r.others() {
		r.out.Offers = append(r.out.Offers, OfferRequest{To: id, Group: r.cfg.Group, Round: r.round})
	}
}

func (r *Rebuild) askEntries() {
	r.resend, r.age = false, 0
	r.asked++
	r.out.Entries = &EntriesRequest{
		To: r.from, Group: r.cfg.Group, Round: r.round, Term: r.offer.Term,
		After: r.have, UpTo: r.offer.Last, MaxBytes: r.cfg.BatchBytes,
	}
}

// Tick passes time.
func (r *Rebuild) Tick() {
	r.age++
	switch r.phase {
	case rebuildTransferring:
		if err := r.receiver.Tick(); err != nil {
			r.again(err.Error())
		}
	case rebuildFetching:
		if r.busy || r.resend || r.age < r.cfg.EntriesTicks {
			return
		}
		if r.asked >= r.cfg.EntriesTries {
			r.again(fmt.Sprintf("member %d gave no entries after %d in %d tries", r.from, r.have.Index, r.asked))
			return
		}
		r.resend = true
	}
}

// Offered takes an answer to an OfferRequest. A *BadAnswerError says that it was
// refused; nothing has to be done then.
func (r *Rebuild) Offered(from uint64, a OfferAnswer) error {
	v := r.voters[from]
	if v == nil || a.Round-r.cfg.Seed-1 >= r.round-r.cfg.Seed {
		return nil // not a member's, or to a question of another quarantine
	}
	if !a.Quarantined && (!v.termKnown || a.Term < v.term) {
		v.term, v.termKnown = a.Term, true
	}
	v.heard, v.quarantined, v.leader, v.round, v.newer = true, a.Quarantined, a.Leader, a.Round, a.Newer
	if !a.Quarantined && a.Offer != nil && r.phase == rebuildAsking && (r.offer == nil || a.Offer.Term > r.offer.Term) {
		if err := r.checkOffer(from, a); err != nil {
			return err
		}
		r.offer, r.from = a.Offer, from
	}
	if r.begun && r.Found() {
		r.follow()
	}
	return nil
}

// follow begins to take what was offered.
func (r *Rebuild) follow() {
	o := r.offer
	switch at := r.at(); {
	case o.Start.Index <= at.Index && at.Index <= o.Last:
		// What is installed is a committed place of the same log: it still fits. Entries
		// behind it may be of a leader who was deposed.
		r.have = at
		r.fetch()
	default:
		r.phase, r.age = rebuildTransferring, 0
		r.receiver = NewReceiver(o.Checkpoint, r.from, r.cfg.Receiver)
		r.stage = &o.Checkpoint
	}
}

// at is the committed place that the stored log starts from.
func (r *Rebuild) at() LogStart {
	if r.base == nil {
		return LogStart{Index: GenesisIndex, Term: GenesisTerm}
	}
	return LogStart{Index: r.base.Index, Term: r.base.Term}
}

func (r *Rebuild) fetch() {
	r.phase, r.age, r.asked, r.resend = rebuildFetching, 0, 0, true
	if r.have.Index == r.offer.Last {
		r.store(nil)
	}
}

// store hands out a batch; the last one with the hard state.
func (r *Rebuild) store(entries []*pb.Entry) {
	w := &Write{Group: r.cfg.Group, Entries: entries}
	if n := len(entries); n > 0 {
		r.have = LogStart{Index: entries[n-1].GetIndex(), Term: entries[n-1].GetTerm()}
	}
	if r.have.Index == r.offer.Last {
		hs := r.hardState()
		w.HardState, w.Sync = &hs, true
		r.phase = rebuildFinishing
	}
	r.write = w
}

// Chunk takes the answer to a ChunkRequest. One that does not belong to what is being
// transferred is ignored.
func (r *Rebuild) Chunk(from, index uint64, chunk uint32, data []byte) {
	if !r.transfers(from, index) {
		return
	}
	chunks, err := r.receiver.Chunk(chunk, data)
	if err != nil {
		r.again(err.Error())
		return
	}
	r.chunks = append(r.chunks, chunks...)
}

// ChunkFailed says that a ChunkRequest got no chunk.
func (r *Rebuild) ChunkFailed(from, index uint64, chunk uint32, err error) {
	if r.transfers(from, index) {
		r.receiver.Failed(chunk, err)
	}
}

func (r *Rebuild) transfers(from, index uint64) bool {
	return r.phase == rebuildTransferring && r.from == from && r.offer.Checkpoint.Index == index && !r.receiver.Done()
}

// Entries takes the answer to an EntriesRequest. None at all says that the leader has
// not stored them yet. A *BadAnswerError says that it was refused.
func (r *Rebuild) Entries(q EntriesRequest, entries []*pb.Entry) error {
	if !r.waitsFor(q) {
		return nil
	}
	if len(entries) == 0 {
		return nil // asked for again in a while
	}
	if err := r.checkEntries(entries); err != nil {
		r.again(err.Error())
		return err
	}
	r.asked, r.age, r.resend = 0, 0, true
	r.store(entries)
	return nil
}

// EntriesFailed says that a leader refused an EntriesRequest: it leads no more, or has
// cut its log meanwhile. One that was lost need not be reported.
func (r *Rebuild) EntriesFailed(q EntriesRequest, err error) {
	if r.waitsFor(q) {
		r.again(err.Error())
	}
}

func (r *Rebuild) waitsFor(q EntriesRequest) bool {
	return r.phase == rebuildFetching && !r.busy && r.write == nil &&
		q.To == r.from && q.Round == r.round && q.Term == r.offer.Term && q.After == r.have
}

// Stored reports that the storage part of the last Output is done. An error is that of
// a staged checkpoint: what came was not what was promised. Errors of Write are not
// reported, they end the member.
func (r *Rebuild) Stored(err error) {
	if !r.busy {
		return
	}
	r.busy = false
	switch {
	case r.phase == rebuildAsking: // it began again meanwhile
	case err != nil:
		r.again(err.Error())
	case r.phase == rebuildInstalling && !r.installing:
		d := r.offer.Checkpoint
		r.write, r.installing = &Write{Group: r.cfg.Group, Install: &d, Sync: true}, true
	case r.phase == rebuildInstalling:
		d := r.offer.Checkpoint
		r.base, r.have = &d, LogStart{Index: d.Index, Term: d.Term}
		r.receiver, r.installing = nil, false
		r.fetch()
	case r.phase == rebuildFinishing && r.write == nil:
		r.phase = rebuildDone
	}
}

// again begins with new questions after a while. What is installed stays.
func (r *Rebuild) again(why string) {
	r.phase, r.age, r.offer, r.receiver = rebuildAsking, 0, nil, nil
	r.abort, r.stage, r.chunks, r.write, r.installing = true, nil, nil, nil, false
	r.out = RebuildOutput{}
	r.why = strings.TrimPrefix(why, "raftlog: ")
}
