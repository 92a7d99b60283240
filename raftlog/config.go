package raftlog

import (
	"fmt"
	"log/slog"

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
func loadMemory(l *Loaded, cp Descriptor) (*memory, HardState, error) {
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
	memory := &memory{MemoryStorage: raft.NewMemoryStorage()}
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
