package replica

import (
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/protobuf/proto"

	"github.com/heliosdb/metadata/commands"
	"github.com/heliosdb/metadata/feed"
	"github.com/heliosdb/metadata/projections"
	"github.com/heliosdb/metadata/raftlog"
)

// Limits. Those of Config are defaults for its zero values.
const (
	// MaxBatchBytes bounds the changes of one log entry, unless it is a single one.
	MaxBatchBytes = 1 << 20
	// MaxBatchChanges bounds their number.
	MaxBatchChanges = 4096
	// MaxEntryBytes bounds a log entry: one change of the largest size that commands
	// allow, and what the batch adds to it.
	MaxEntryBytes = 4 << 20
	// MaxRecordBytes bounds one record of a checkpoint.
	MaxRecordBytes = projections.MaxRecordBytes
	// MaxTrailingBytes bounds the log entries that are kept before a checkpoint, in memory
	// as all of the log.
	MaxTrailingBytes = 8 << 20
	// MaxCheckpointGrowth bounds the log behind a checkpoint, which is in memory and is
	// folded at a start, however large the model is.
	MaxCheckpointGrowth = 128 << 20
	// MaxPinnedCuts is how many times in a row the log is kept longer for a member
	// that is receiving a checkpoint, or is rebuilt from an offer.
	MaxPinnedCuts = 4
	// OfferIdleTicks is how long a member that was offered a rebuild may ask for nothing
	// before the log is kept for it no more.
	OfferIdleTicks = raftlog.DefaultSenderIdleTicks

	DefaultMaxPending          = 8192
	DefaultMaxPendingBytes     = 16 << 20
	DefaultMaxWaiting          = 32768
	DefaultCheckpointRevisions = 250_000
	DefaultCheckpointBytes     = 32 << 20 // the log since then is in memory
	DefaultTrailingEntries     = 10_000
	DefaultReadRetryTicks      = 5
	DefaultPatienceTicks       = 50
)

// Decide carries out a command on a model: commands.Schema or commands.Topology. It
// has to be pure.
type Decide[D projections.Domain[D]] func(*projections.State[D], commands.Env, proto.Message) (commands.Decision, error)

// Config of a Replica. Zero values of limits stand for the defaults.
type Config[D projections.Domain[D]] struct {
	// Log configures the Raft group. Checkpoint names the one that State was read
	// from; MaxEntryBytes is set by the replica.
	Log raftlog.Config
	// State is the model at Log.Checkpoint, see Restore.
	State  *projections.State[D]
	Decide Decide[D]
	// Feed gets every change that takes effect. It stands at State's revision.
	Feed *feed.Log
	// ReadSeed is random, or at least another one at each start: a late answer to a
	// read of an earlier process must not be taken for a new one's.
	ReadSeed uint64

	MaxPending      int // changes decided and not yet applied, and commands waiting to be
	MaxPendingBytes int // of these changes
	MaxWaiting      int // reads, and answers without a change, that wait
	// A checkpoint is due at the first entry after which the stream has grown by so many
	// revisions since the last one that was due, or by half as many bytes as the model has: at
	// least by CheckpointBytes, and at most by MaxCheckpointGrowth. So what is written for a
	// change does not grow with the model, until that is very large, nor does what a start
	// folds. Both must be equal on all members, so that all write the same checkpoints.
	CheckpointRevisions uint64
	CheckpointBytes     uint64
	TrailingEntries     uint64 // log entries kept before a checkpoint
	ReadRetryTicks      int    // a ReadIndex round without an answer is tried again
	PatienceTicks       int    // a read that waits longer fails

	Logger *slog.Logger // nil: silent
}

func (c *Config[D]) setDefaults() {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.MaxPending, DefaultMaxPending)
	def(&c.MaxPendingBytes, DefaultMaxPendingBytes)
	def(&c.MaxWaiting, DefaultMaxWaiting)
	def(&c.ReadRetryTicks, DefaultReadRetryTicks)
	def(&c.PatienceTicks, DefaultPatienceTicks)
	if c.CheckpointRevisions == 0 {
		c.CheckpointRevisions = DefaultCheckpointRevisions
	}
	if c.CheckpointBytes == 0 {
		c.CheckpointBytes = DefaultCheckpointBytes
	}
	if c.TrailingEntries == 0 {
		c.TrailingEntries = DefaultTrailingEntries
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Log.MaxEntryBytes = MaxEntryBytes
	c.Log.Logger = c.Logger
}

func (c *Config[D]) check() error {
	switch {
	case c.State == nil || c.Decide == nil || c.Feed == nil:
		return errors.New("replica: Config needs State, Decide and Feed")
	case c.Log.Loaded == nil:
		return errors.New("replica: Config.Log needs Loaded: call Storage.Load first")
	}
	if at := c.Feed.Head(); at != c.State.Head.Revision {
		return fmt.Errorf("replica: %v: the model is at revision %d, its feed at %d", c.State.Head.Stream, c.State.Head.Revision, at)
	}
	cp := c.checkpoint()
	if head := c.State.Head; head.Revision != cp.Seq {
		return fmt.Errorf("replica: %v: the model is at revision %d, its checkpoint at %d", head.Stream, head.Revision, cp.Seq)
	}
	return nil
}

// checkpoint returns the one that State was read from.
func (c *Config[D]) checkpoint() raftlog.Descriptor {
	if c.Log.Checkpoint != nil {
		return *c.Log.Checkpoint
	}
	return c.Log.Loaded.Newest()
}
