package raftlog

import (
	"errors"
	"fmt"
)

// Errors without further content.
var (
	// ErrNotLeader refuses a proposal or a conf change on a member that does not lead.
	ErrNotLeader = errors.New("raftlog: this member is not the leader of the group: send the command to the leader")
	// ErrProposalDropped means that the proposal did not enter the log: too much is
	// uncommitted, leadership is being handed over, or the own disk is stalled. It
	// can be tried again; everything decided after it must be decided again.
	ErrProposalDropped = errors.New("raftlog: proposal dropped: it did not enter the log, try again")
	// ErrNoLeader means that a read index cannot be asked for: no leader is known.
	ErrNoLeader = errors.New("raftlog: no leader is known for the group: try again after an election")
	// ErrNotStaged refuses a MsgSnap in Step: its checkpoint has to be transferred
	// and staged first, then InstallSnapshot takes the message.
	ErrNotStaged = errors.New("raftlog: snapshot message refused: stage its checkpoint first, then call InstallSnapshot")
	// ErrFull refuses a checkpoint file, or ends it, because the disk is full up to the
	// reserve that the log needs: try again when there is room.
	ErrFull = errors.New("raftlog: the disk is full up to its reserve: make room on it")
	// ErrOvertaken refuses a staged checkpoint when the member has written one of its own at that
	// index or a later one: its log has come so far meanwhile, and the own file must not be
	// replaced by one that another build may have cut in other chunks.
	ErrOvertaken = errors.New("raftlog: the checkpoint is not needed any more: the log has reached it by itself")
	// ErrArchived refuses a checkpoint of the past where there is one already.
	ErrArchived = errors.New("raftlog: there is a checkpoint at that index: read that one")
	// ErrNoCheckpoint means that there is no checkpoint file of that index.
	ErrNoCheckpoint = errors.New("raftlog: no such checkpoint")
)

// TooLargeError refuses something over a limit.
type TooLargeError struct {
	What  string // what was too large
	Limit string // name of the limit
	Max   int
	Got   int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("raftlog: %s has %d, over the limit %s of %d: make it smaller", e.What, e.Got, e.Limit, e.Max)
}

// advice is for whoever reads that a directory cannot be used.
const advice = "a member of several is rebuilt from the others: start it while a majority of them is up, and never give it an older copy of its directory; " +
	"a lone member can only go on from a backup of its whole directory, without what was acknowledged since, or, without all its data, with an empty directory"

// DamageError means that stored bytes are not what was written.
type DamageError struct {
	Path   string // file or directory
	Detail string
	Err    error // may be nil
}

func (e *DamageError) Error() string { return "raftlog: " + e.why() + ": " + advice }

func (e *DamageError) Unwrap() error { return e.Err }

func (e *DamageError) why() string {
	s := fmt.Sprintf("%s is damaged: %s", e.Path, e.Detail)
	if e.Err != nil {
		s += ": " + Why(e.Err)
	}
	return s
}

// ShortError means that a log holds less than the member has promised to others.
type ShortError struct {
	Path  string
	Group GroupID
	Name  string // what people call the group; "": by its number
	What  string // "last index", "term" or "vote"
	Have  uint64
	Floor uint64
}

func (e *ShortError) Error() string { return "raftlog: " + e.why() + ": " + advice }

func (e *ShortError) why() string {
	name := e.Name
	if name == "" {
		name = fmt.Sprintf("group %d", e.Group)
	}
	return fmt.Sprintf("%s, %s: %s is %d but the floor file says that %d was durable: acknowledged entries or votes are missing",
		e.Path, name, e.What, e.Have, e.Floor)
}

// Why says what is wrong with a directory, for Storage.Condemn: the text of a
// *DamageError or *ShortError without the advice, of a *CondemnedError its reason, of any
// other error all.
func Why(err error) string {
	if e, ok := errors.AsType[*CondemnedError](err); ok {
		return e.Why
	}
	if e, ok := errors.AsType[*ShortError](err); ok {
		return e.why()
	}
	if e, ok := errors.AsType[*DamageError](err); ok {
		return e.why()
	}
	return err.Error()
}

// CondemnedError means that a directory must be rebuilt from other members first.
type CondemnedError struct {
	Path string
	Why  string
}

func (e *CondemnedError) Error() string {
	return fmt.Sprintf("raftlog: %s is in quarantine: %s: its groups do not start before it has been rebuilt from the other members; "+
		"start the member while a majority of the others is up, and it does that by itself", e.Path, e.Why)
}

// InUseError means that another process holds the directory.
type InUseError struct {
	Path string
	Err  error
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("raftlog: directory %s is in use by another process (%v): stop it, or give this member another directory", e.Path, e.Err)
}

func (e *InUseError) Unwrap() error { return e.Err }

// FormatError means that another build wrote something: a newer one, or one so old that
// this one does not read it. It is not damage: this build must not touch it.
type FormatError struct {
	What       string // what has the format
	Have, Know uint32
}

func (e *FormatError) Error() string {
	if e.Have < e.Know {
		return fmt.Sprintf("raftlog: %s format %d is too old for this build (it reads %d): go on with the build that wrote it; "+
			"or start anew: stop all members, as those of the two builds do not run together, give this build empty directories, and apply the schema again",
			e.What, e.Have, e.Know)
	}
	return fmt.Sprintf("raftlog: %s format %d is not known to this build (it knows %d): upgrade this member", e.What, e.Have, e.Know)
}

// IdentityError means that a directory belongs to another member or cluster.
type IdentityError struct {
	What       string // which part differs
	Have, Want string // in the directory, in the configuration
}

func (e *IdentityError) Error() string {
	return fmt.Sprintf("raftlog: the directory belongs to %s %s but the configuration says %s: use the right directory, or correct the configuration",
		e.What, e.Have, e.Want)
}

// GapError means that history does not hold the record asked for.
type GapError struct {
	Group       GroupID
	Seq         uint64
	First, Last uint64 // what there is; 0, 0 when nothing
}

func (e *GapError) Error() string {
	return fmt.Sprintf("raftlog: group %d has no history record %d (it has %d to %d): read it from another member",
		e.Group, e.Seq, e.First, e.Last)
}

// SplitError means that a record of history would have to be split: records are read and
// filled as a whole.
type SplitError struct {
	Group       GroupID
	Seq         uint64 // where
	First, Last uint64 // of the record
}

func (e *SplitError) Error() string {
	return fmt.Sprintf("raftlog: group %d has history record %d to %d, which is not split before %d: ask for what is before the first sequence of a record",
		e.Group, e.First, e.Last, e.Seq)
}
