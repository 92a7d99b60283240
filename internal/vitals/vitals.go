// Package vitals names the numbers by which a member is watched.
//
// A member fills Stats when asked (on each scrape, so filling it takes no lock
// that writers wait for) and calls an Observer as things happen. The server
// turns both into metrics; neither side imports the other. The values are plain
// copies: they are safe to keep. The package computes nothing.
package vitals

import (
	"time"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Stats is a member at one moment. Fields that are not known are 0.
type Stats struct {
	MemberID    uint64
	Streams     []Stream // one for each stream, in order of their numbers
	Subscribers int      // open subscriptions
	StoreBytes  uint64   // of the data directory
	FreeBytes   uint64   // of the file system below it
	Quarantined bool     // it takes part in nothing until it is rebuilt
	Divergences uint64   // since the start: checkpoints of members seen to differ
}

// Stream is a member's part in one stream at one moment.
type Stream struct {
	Stream       metadatav1.Stream
	Role         metadatav1.Role
	Term         uint64
	Leader       uint64 // the leader that the member knows; 0: none
	FeatureLevel uint32

	Revision       uint64 // that the published model has reached
	OldestRevision uint64 // in the history
	FirstIndex     uint64 // of the log
	LastIndex      uint64 // of the log
	CommittedIndex uint64
	AppliedIndex   uint64
	LogBytes       uint64 // of the entries between first and last index; an estimate will do

	ProposedEntries uint64 // since the start, as leader: log entries
	ProposedChanges uint64 // since the start, as leader: the changes in them
	QueueDepth      int    // commands that wait for a decision or for their change to commit
	FencedEntries   uint64 // since the start: committed entries that the fence made the member skip
	LeaderChanges   uint64 // since the start, as the member saw them
	Checkpoints     uint64 // written or installed since the start
	CheckpointBytes uint64 // of the newest checkpoint
	CheckpointTime  time.Duration
	// CheckpointRevision is the revision of the newest checkpoint.
	CheckpointRevision uint64

	Subscribers   int    // subscriptions that follow the stream
	SubscriberLag uint64 // changes that the slowest of them is behind the published revision
}

// Outcome says how a proposal ended.
type Outcome string

// The outcomes of proposals.
const (
	Committed Outcome = "committed" // took effect
	Unknown   Outcome = "unknown"   // leadership was lost before the outcome was known
)

// Observer is told of what happens on a member. Its methods are called from
// any goroutine, return at once and never fail.
type Observer interface {
	// Proposal reports one change that this member proposed as leader: the time
	// from the arrival of its command to its outcome.
	Proposal(stream metadatav1.Stream, took time.Duration, outcome Outcome)
	// Checkpoint reports one checkpoint written: how long it took and its size.
	Checkpoint(stream metadatav1.Stream, took time.Duration, bytes uint64)
	// StoreWrite reports one synced storage write and how many Writes it carried.
	StoreWrite(took time.Duration, writes int)
}

// Silent is an Observer that drops everything.
type Silent struct{}

// Proposal does nothing.
func (Silent) Proposal(metadatav1.Stream, time.Duration, Outcome) {}

// Checkpoint does nothing.
func (Silent) Checkpoint(metadatav1.Stream, time.Duration, uint64) {}

// StoreWrite does nothing.
func (Silent) StoreWrite(time.Duration, int) {}
