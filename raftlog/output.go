package raftlog

import pb "go.etcd.io/raft/v3/raftpb"

// Entry is a committed entry. Data is nil for the empty entry of a new leader and
// for conf changes; it must not be modified.
type Entry struct {
	Index, Term uint64
	Data        []byte
	// Conf is the configuration from this entry on; nil when it did not change it.
	Conf *pb.ConfState
}

// ReadState answers a ReadIndex: reads may be served by a model at Index or later.
type ReadState struct {
	ID    uint64
	Index uint64
	Term  uint64
}

// Role of a member in a group.
type Role uint8

// Roles.
const (
	Follower Role = 1 + iota
	PreCandidate
	Candidate
	Leader
)

// SoftState is who leads, as far as this member knows. Leader is 0 when unknown.
type SoftState struct {
	Role   Role
	Leader uint64
	Term   uint64
}

// Output is one step's work. Parts may be handled in any order, except that a
// group's Writes keep theirs.
type Output struct {
	// Messages to other members, to be sent at once: they wait for no Write. They
	// share entries with the log and must be treated as read-only.
	Messages []*pb.Message
	Write    *Write
	// Committed entries, each exactly once and in order.
	Committed  []Entry
	ReadStates []ReadState
	Soft       *SoftState // nil when unchanged
}

// Progress is what a leader knows of a member.
type Progress struct {
	Match, Next  uint64
	State        string // "probe", "replicate" or "snapshot"
	RecentActive bool
	Learner      bool
}

// Status is a snapshot of a group for operators and decisions of the driver.
type Status struct {
	SoftState
	Commit, Applied uint64
	First, Last     uint64 // first and last index of the log; First is Last+1 when empty
	LogBytes        uint64 // of the data of its entries
	Conf            *pb.ConfState
	Transferee      uint64              // member that leadership is being handed to; 0: none
	Progress        map[uint64]Progress // on the leader only
	Unwritten       int                 // Writes handed out and not yet reported with Appended
	Stalled         bool                // the oldest of them is older than StallTicks
	Refused         map[Reason]uint64   // messages that failed Check, by reason
}
