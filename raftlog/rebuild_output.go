package raftlog

import (
	"errors"
	"fmt"
)

// OfferRequest asks a member for an Offer. Everybody answers with an OfferAnswer.
type OfferRequest struct {
	To    uint64
	Group GroupID
	Round uint64
}

// OfferAnswer is what a member answers. A leader answers after a ReadIndex round that
// began after the question (replica.Read with Leading); others and those in
// quarantine at once.
type OfferAnswer struct {
	Round       uint64 // of the question
	Quarantined bool   // the rest is 0 then
	Term        uint64 // the member's own
	Leader      uint64 // that it knows; 0: none
	Offer       *Offer // of a leader that was confirmed; else nil
	// Newer says that it made an offer, which only a newer build can read.
	Newer *FormatError
}

// Offer is what a leader has, see Group.Offer.
type Offer struct {
	Term       uint64
	Last       uint64 // index of its last entry
	Commit     uint64
	Start      LogStart   // of its log
	Checkpoint Descriptor // its newest
}

// EntriesRequest asks a leader for entries after After up to UpTo, while it leads
// Term. See Group.EntriesAfter.
type EntriesRequest struct {
	To       uint64
	Group    GroupID
	Round    uint64 // to be handed back
	Term     uint64
	After    LogStart
	UpTo     uint64
	MaxBytes int // of the entries together, unless it is one
}

// RebuildOutput is what one step wants done. The caller sends the requests (each may
// be lost), then carries out the storage part, if there is one, in the order of the
// fields, and reports it with Stored.
type RebuildOutput struct {
	Offers  []OfferRequest
	Chunks  []ChunkRequest
	Entries *EntriesRequest

	Abort  bool        // CheckpointWriter.Abort
	Stage  *Descriptor // Storage.StageCheckpoint
	Append [][]byte    // CheckpointWriter.WriteChunk, each
	Commit bool        // CheckpointWriter.Commit
	Write  *Write      // Storage.Write; an error of it ends the member
}

// Stores reports whether there is a storage part, and so a Stored to come.
func (o *RebuildOutput) Stores() bool {
	return o.Abort || o.Stage != nil || len(o.Append) > 0 || o.Commit || o.Write != nil
}

func (o *RebuildOutput) idle() bool {
	return !o.Stores() && len(o.Offers) == 0 && len(o.Chunks) == 0 && o.Entries == nil
}

// BadAnswerError is an answer that no honest member gives to a member in quarantine.
type BadAnswerError struct {
	From   uint64
	Group  GroupID
	Detail string
}

func (e *BadAnswerError) Error() string {
	return fmt.Sprintf("raftlog: group %d: answer of member %d to this member's quarantine refused: %s", e.Group, e.From, e.Detail)
}

// Errors of a leader that serves an EntriesRequest.
var (
	// ErrLogCut means that the entries asked for have been cut.
	ErrLogCut = errors.New("raftlog: the entries have been cut: take a newer checkpoint")
	// ErrLogDiffers means that the logs have nothing in common at that place.
	ErrLogDiffers = errors.New("raftlog: the log has another entry at that place")
)
