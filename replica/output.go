package replica

import (
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/raftlog"
)

// Request asks for a change.
type Request struct {
	// Command is a request message of the stream. It must not be changed any more.
	Command proto.Message
	// Env comes from the driver: the time at which the command arrived, the actor and,
	// unless the command's own WriteOptions say it, the request id.
	Env commands.Env
	// Term, when it is not 0, is the only term in which the command may be decided: it
	// rests on what its author knew as leader of that term.
	Term uint64
	// Done gets the answer, exactly once, inside Ready.
	Done func(Answer)
}

// Answer is the outcome of a Request.
type Answer struct {
	// Reply is the rpc's response, see commands.Decision. The receiver may complete its
	// WriteResult and nothing else: the rest is shared with the change. nil with an error.
	Reply proto.Message
	// Err is a *failure.Error: a rejection by the command, or NO_LEADER (not carried
	// out), OUTCOME_UNKNOWN (may or may not be), STOPPING, LIMIT_REACHED, DISK_FULL.
	Err error
	// Revision is the one that the write made; without a change, the one at which that
	// was decided. 0 if nothing was decided.
	Revision uint64
}

// Read asks for a model that is fresh enough, on any member.
type Read[D projections.Domain[D]] struct {
	// AtLeast, when it is not 0, waits for this revision and for nothing else. Otherwise
	// the read is linearizable: it waits for a ReadIndex round that begins after it
	// arrived.
	AtLeast uint64
	// Leading, with a linearizable read, also wants this member to lead throughout: the
	// answer names the term.
	Leading bool
	// Done gets the answer, exactly once, inside Ready.
	Done func(ReadAnswer[D])
}

// ReadAnswer is the outcome of a Read.
type ReadAnswer[D projections.Domain[D]] struct {
	State *projections.State[D] // nil with an error
	Term  uint64                // with Read.Leading: the term led in
	// Err is a *failure.Error: NO_LEADER, DEADLINE, LIMIT_REACHED or INTERNAL.
	Err error
}

// Output is what one step wants done. Its parts may be handled in any order, except
// that Writes keep theirs.
type Output[D projections.Domain[D]] struct {
	// Messages to other members. They share bytes with the log: read only.
	Messages []*pb.Message
	// Write goes to the storage; nil if there is nothing to store.
	Write *raftlog.Write
	// Applied are the changes that took effect in this step, in order. They are
	// published and in the feed already.
	Applied []*events.Change
	// Installed says that the model was replaced by another member's checkpoint.
	Installed bool
	// Soft is set when role, leader or term changed.
	Soft *raftlog.SoftState
	// Leading is set when this member began, or ceased, to decide.
	Leading *Leading
	// Checkpoint is to be written in the background.
	Checkpoint *CheckpointJob[D]
	// Fetch is a checkpoint to be fetched from another member.
	Fetch *Fetch
	// Fatal is set once, when the member has to stop: it met something that it cannot
	// fold. Nothing comes after it.
	Fatal error
}

// Leading says whether this member decides, and in which term.
type Leading struct {
	Term uint64
	Now  bool
}

// CheckpointJob is a model to be written out. It is immutable.
type CheckpointJob[D projections.Domain[D]] struct {
	State      *projections.State[D]
	Descriptor raftlog.Descriptor // as Storage.CreateCheckpoint wants it
	// ChunkBytes is the size of all chunks but the last; 0: DefaultChunkBytes. It is
	// part of the checkpoint's hash, so it has to be equal on all members.
	ChunkBytes int
}

// Fetch is a checkpoint that this member needs from another one.
type Fetch struct {
	From       uint64 // the member that offers it
	Descriptor raftlog.Descriptor

	message *pb.Message
}

// Status describes a replica. Counters count since the start.
type Status struct {
	raftlog.Status
	Head    projections.Head
	Leading bool // decides commands
	Pending int  // changes decided and not yet applied
	Waiting int  // commands and reads that wait for a round, an index or a leader
	Newest  raftlog.Descriptor

	Fenced      uint64 // committed entries that were skipped
	Dropped     uint64 // decisions forgotten because raft dropped their proposal
	Panicked    uint64 // commands whose decision panicked
	Rounds      uint64 // ReadIndex rounds
	Entries     uint64 // entries proposed
	Changes     uint64 // changes proposed
	Checkpoints uint64 // own checkpoints written
	Failures    uint64 // own checkpoints that could not be written
	Installs    uint64 // checkpoints of others installed
	Draining    bool
	LastChange  time.Time
}
