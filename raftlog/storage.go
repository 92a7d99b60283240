package raftlog

import pb "go.etcd.io/raft/v3/raftpb"

// Limits of what is stored. An error that refuses something over a limit names it.
const (
	// MaxChunkBytes is the largest chunk of a checkpoint.
	MaxChunkBytes = 1 << 20
	// MaxChunks is the largest number of chunks of a checkpoint (1 TiB in all).
	MaxChunks = 1 << 20
	// MaxMetaBytes is the largest Descriptor.Meta.
	MaxMetaBytes = 64 << 10
	// MaxConfMembers is the largest number of ids in one list of a ConfState.
	MaxConfMembers = 64
	// KeepCheckpoints is how many checkpoints of a group a Storage keeps for a restart.
	KeepCheckpoints = 2
	// KeepArchived is how many replaced ones it keeps besides, to read the past from.
	KeepArchived = 8
	// MaxKnownDamage is how many damaged runs of a history a Storage remembers.
	MaxKnownDamage = 64
)

// GroupID names a Raft group on a member; it is a prefix of stored keys and part
// of each frame between members. 0 is not a group.
type GroupID uint8

// Position of the first thing in every log: genesis is a snapshot without bytes
// at this index and term, the same on every member.
const (
	GenesisIndex uint64 = 1
	GenesisTerm  uint64 = 1
)

// Identity says whose directory this is. It is written once, at genesis.
type Identity struct {
	Format        uint32 // of everything in the directory; IdentityFormat
	ClusterID     [16]byte
	RecoveryEpoch uint64
	ClusterName   string
	Member        uint64
	Peers         []Peer // as configured at genesis, sorted by id
}

// Peer is one initial member and where its Raft port is.
type Peer struct {
	ID   uint64
	Addr string
}

// HardState is what Raft must remember across a crash.
type HardState struct {
	Term   uint64
	Vote   uint64 // 0: none
	Commit uint64
}

// LogStart is the position just before the first stored entry.
type LogStart struct {
	Index, Term uint64
}

// Loaded is what a restart finds in a group's storage.
type Loaded struct {
	Group     GroupID
	HardState HardState // Commit is never below the newest checkpoint
	Start     LogStart
	Entries   []*pb.Entry // contiguous from Start.Index+1
	// Checkpoints from which the log reaches the end without a gap, newest last.
	// There is always one: genesis counts.
	Checkpoints []Descriptor
}

// Newest returns the newest checkpoint.
func (l *Loaded) Newest() Descriptor { return l.Checkpoints[len(l.Checkpoints)-1] }

// LastIndex returns the index of the last entry, or Start.Index when there is none.
func (l *Loaded) LastIndex() uint64 { return l.Start.Index + uint64(len(l.Entries)) }

// LastTerm returns the term of the last entry, or Start.Term when there is none.
func (l *Loaded) LastTerm() uint64 {
	if n := len(l.Entries); n > 0 {
		return l.Entries[n-1].GetTerm()
	}
	return l.Start.Term
}

// Votes says what is known of the terms and votes of a member whose directory is
// condemned. Who condemns it says so; Storage keeps it with the reason.
type Votes uint8

// Values of Votes. In doubt they are unknown: then a rebuild waits for more members.
const (
	// VotesUnknown: the member may have voted in terms of which the floor knows nothing.
	VotesUnknown Votes = iota
	// VotesKnown: the floor, if it can be read, has every term and vote.
	VotesKnown
)

// Promise is what a member has told others about a group: they may count on it.
type Promise struct {
	Last uint64 // last index acknowledged as durable; may lag by a floor interval
	Term uint64
	Vote uint64 // in Term; 0: none
}

// Covered returns a *ShortError unless a rebuilt group with that hard state holds what
// was promised, see Storage.EndRebuild. Its log may be shorter: entries that a
// confirmed leader does not have were never committed, see Rebuild.
func (p Promise) Covered(path string, g GroupID, hard HardState) error {
	short := func(what string, have, floor uint64) error {
		return &ShortError{Path: path, Group: g, What: what, Have: have, Floor: floor}
	}
	switch {
	case hard.Term < p.Term:
		return short("term", hard.Term, p.Term)
	case hard.Term == p.Term && p.Vote != 0 && hard.Vote == 0:
		return short("vote", hard.Vote, p.Vote)
	}
	return nil
}

// Storage keeps the logs, histories and checkpoints of all groups of one member.
//
// A directory that must not be used as it is (damaged, short, blank in a cluster that
// has lived) is condemned: that is durable, and until EndRebuild everything but
// Identity, Condemned, Condemn, Promise, BeginRebuild, Space and Close returns a
// *CondemnedError. Between BeginRebuild and EndRebuild also StageCheckpoint, Write and
// what reads history and checkpoints work, on the new content; Load,
// CreateCheckpoint, CreateArchived and CreateBase still do not.
//
// Write is called by one goroutine at a time; all other methods may be called at
// any time from any goroutine. After an error of Write the caller stops the member;
// it does not retry.
type Storage interface {
	// Identity returns nil when the directory is blank, or condemned and so damaged
	// that it does not tell.
	Identity() (*Identity, error)

	// Bootstrap writes genesis into a blank directory: the identity and, for each
	// group, a log that starts after GenesisIndex with the given voters,
	// HardState{Term: GenesisTerm, Commit: GenesisIndex}. Durable when it returns.
	// It refuses a directory that is not blank, and a condemned one.
	Bootstrap(id Identity, groups []GroupID, voters []uint64) error

	// Load reads a group's log and verifies each entry. It returns a *DamageError
	// for bytes that are not what was written and a *ShortError for a log, term or
	// vote below the floor.
	Load(g GroupID) (*Loaded, error)

	// Write applies the Writes in order in one atomic batch. When one of them has
	// Sync set, the batch and everything written before is durable on return. A Write
	// that does not fit (see Write.Fit) is refused and nothing of the batch is stored.
	Write(ws []*Write) error

	// ReadHistory returns records with their entries, dense and in order, beginning with the
	// one that holds sequence from: at least one if there is one and then as many as fit
	// maxBytes of content. It returns none when from is above the last sequence, a
	// *GapError when from is missing and a *DamageError when the record that holds it, or its
	// entry, is not what was written: what lies before damage is returned without an error. What
	// is found damaged is remembered, see HistoryDamage.
	ReadHistory(g GroupID, from uint64, maxBytes int) ([]Past, error)

	// HistoryBounds returns the first and last sequence of history; 0, 0 when there is
	// none. What lies between may have gaps only if the caller wrote gaps. It reads nothing.
	HistoryBounds(g GroupID) (first, last uint64, err error)

	// ReadHistoryBefore returns records with their entries, dense and in order, of which the
	// last one ends right before sequence below: as many as fit maxBytes of content, at least
	// one. It returns none when history begins at below or behind it or is empty, a *GapError
	// when below-1 is missing, a *SplitError when it is inside of a record, and a *DamageError as
	// ReadHistory does.
	ReadHistoryBefore(g GroupID, below uint64, maxBytes int) ([]Past, error)

	// HistoryGap returns the newest run of sequences before below that history lacks; 0, 0 if
	// it has all of them from 1 on. What is damaged is there. It reads nothing.
	HistoryGap(g GroupID, below uint64) (first, last uint64, err error)

	// HistoryDamage returns what reads have found damaged since the start and nothing has
	// replaced since then, ascending: whole records, with those around them that cannot be read
	// either. There are MaxKnownDamage at most; what is found beyond them is remembered when it is
	// read again. It reads nothing.
	HistoryDamage(g GroupID) ([]Span, error)

	// HistoryBytes returns about how many bytes of the disk the history from a sequence on
	// takes: the records from the one that holds it on, with their entries. It is 0 behind the
	// last one. It reads one record and no entry, and may leave out what was written in the last
	// moments, some megabytes at most.
	HistoryBytes(g GroupID, from uint64) (uint64, error)

	// FillHistory stores records that history lacks, or in place of those that HistoryDamage
	// returns (all of such a run goes; what of it a call does not fill in, history lacks from then
	// on), with their entries: dense, the entries ascending and none behind the start of the log,
	// but for those that the log holds just so. They end right before a record that is
	// there, and begin behind the one before that. If there is none behind them, they
	// end at the sequence of the newest checkpoint: what the log holds behind it comes by
	// Write. Anything else is refused, see Place.Fit. All records of a call are stored in one
	// step, after the fills, trims and Writes before it; it is not synced, so that a
	// crash may lose the last fills, in reverse order, and never leaves a hole. What Load
	// reads stays as it is. Marks of the segments that it reaches are deleted. ErrFull when the disk
	// is full up to its reserve. The receiver must not change what past points to.
	FillHistory(g GroupID, past []Past) error

	// TrimHistory deletes records that lie below the sequence as a whole, damaged ones too that begin
	// below it, the entries and
	// marks that nothing needs any more (a segment of marks as a whole), and archived
	// checkpoints whose Seq is below below-1. It need not be durable.
	TrimHistory(g GroupID, below uint64) error

	// PutMarks stores all marks of the sequences of a segment and that it is complete, in place of what
	// was stored of it, in one step. It is not synced. The caller sees to it that history
	// does not change in the segment between its reading and the end of the call.
	// ErrFull when the disk is full up to its reserve. It may change the order of marks.
	PutMarks(g GroupID, segment uint64, marks []Mark) error

	// ReadMarks returns the sequences of a segment that have a mark with the tag, in order,
	// and whether the segment is complete: there are none otherwise. A segment whose marks
	// are damaged is not complete: they can be made again. Sequences below a trim may be among them.
	ReadMarks(g GroupID, segment, tag uint64) (seqs []uint64, complete bool, err error)

	// CreateCheckpoint starts the file of an own checkpoint. Bytes, Chunks and Hash
	// of d are ignored. The finished file is not current before a Write with
	// Checkpoint set (Group.Cut) says so.
	CreateCheckpoint(g GroupID, d Descriptor) (CheckpointWriter, error)

	// StageCheckpoint starts the file of a checkpoint received from another member:
	// Commit fails with a *DamageError unless the result is d, hash included, and with
	// ErrOvertaken when an own checkpoint at that index or later was finished since the
	// start. The file is not current before a Write with Install set says so.
	StageCheckpoint(g GroupID, d Descriptor) (CheckpointWriter, error)

	// OpenCheckpoint opens a finished file, current or staged. It stays readable
	// until closed, even when newer checkpoints replace it. ErrNoCheckpoint if there
	// is no such file; genesis has no file but can be opened: it has no chunks.
	OpenCheckpoint(g GroupID, index uint64) (CheckpointReader, error)

	// Checkpoints returns the current ones, newest last: KeepCheckpoints at most,
	// older ones are archived.
	Checkpoints(g GroupID) ([]Descriptor, error)

	// Archived returns the replaced checkpoints that are kept to read the past from, oldest
	// first: KeepArchived at most, spread over the sequence (Archive); others are deleted
	// when nobody has them open. Nothing starts from one of them. One whose file cannot be
	// read is deleted at a start, with a warning.
	Archived(g GroupID) ([]Descriptor, error)

	// OpenArchived opens an archived one. It stays readable until closed. ErrNoCheckpoint if there is
	// none at that index, a *DamageError if its file is not what was written.
	OpenArchived(g GroupID, index uint64) (CheckpointReader, error)

	// CreateArchived starts the file of a checkpoint that was made while the past was read:
	// Commit makes it an archived one, for which another may be dropped, and is durable. Bytes, Chunks and Hash of d are ignored. Both refuse
	// one that is not of the past, and with ErrArchived one where there is a checkpoint (FitArchived).
	CreateArchived(g GroupID, d Descriptor) (CheckpointWriter, error)

	// CreateBase is CreateArchived for one that is to be there before history is trimmed behind it. As
	// that makes room, it may use half of the reserve of a full disk, and others are deleted for it.
	CreateBase(g GroupID, d Descriptor) (CheckpointWriter, error)

	// DropArchived deletes an archived one, for who has found that it cannot be read: another can be
	// archived in its place then. It does nothing if there is none at that index.
	DropArchived(g GroupID, index uint64) error

	// Condemned says why the directory must be rebuilt from other members before its
	// groups may start; "" when it need not be.
	Condemned() string

	// Condemn notes durably why the directory must not be used as it is, and what is
	// known of its votes. Nothing else in it is touched. It works on a blank one too. The
	// first reason stays; votes once unknown stay so. Writes that are under way end first.
	Condemn(why string, votes Votes) error

	// Promise returns the floor's promise for a group: the member has promised no less.
	// known says that it has promised nothing else in terms and votes. It is false when
	// the floor was never written or is lost, and while the directory is condemned with
	// VotesUnknown: then it may have voted for anybody in any later term.
	Promise(g GroupID) (p Promise, known bool)

	// BeginRebuild sets aside what a condemned directory holds, but for the floor's
	// promises, and starts the groups anew at genesis; StageCheckpoint and Write fill
	// them. It is called once others have offered all that is needed, see Rebuild: until
	// then the directory stays as it was found. A crash or Close before EndRebuild leaves
	// the directory condemned: what was written is void and BeginRebuild has to be called
	// again. Nobody may have a checkpoint writer open. It refuses a directory that is not condemned.
	BeginRebuild(id Identity, groups []GroupID, voters []uint64) error

	// EndRebuild makes what was written durable, raises the floor to it and ends the
	// condemnation: Load works from then on. It refuses, with a *ShortError and without an
	// effect, while a group holds less than its known promise: a lower term, or no
	// vote in a term in which it has voted (for whom may differ: the caller knows
	// who won that term). The log may be shorter than promised, see Promise.Covered. It
	// refuses when BeginRebuild was not called.
	EndRebuild() error

	// Space returns the bytes that may still be written before proposals should be
	// refused, and the bytes in use. Before it says 0, and before a checkpoint of the log finds no
	// room, archived ones are deleted, see ThinArchive.
	Space() (free, used uint64, err error)

	// Close releases the directory. It is a clean stop: nothing written is lost and
	// the floor is brought up to the last entry. No other call may be running, but for
	// reads of history: subscribers end by themselves, after the member.
	Close() error
}

// CheckpointWriter writes one checkpoint file. One goroutine uses it.
type CheckpointWriter interface {
	// WriteChunk appends a chunk of 1 to MaxChunkBytes bytes.
	WriteChunk(data []byte) error
	// Commit makes the file durable under its final name and returns its descriptor.
	Commit() (Descriptor, error)
	// Abort gives up and deletes what was written. It does nothing after Commit.
	Abort() error
}

// CheckpointReader reads one checkpoint. ReadChunk may be called concurrently.
type CheckpointReader interface {
	Descriptor() Descriptor
	// ReadChunk returns chunk i, 0 <= i < Descriptor().Chunks, verified by its
	// checksum; *DamageError when it does not match. The caller owns the bytes.
	ReadChunk(i uint32) ([]byte, error)
	Close() error
}
