package raftlog

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Limits of a checkpoint transfer. Ticks are the caller's, those of Group.Tick will do.
const (
	// DefaultTransferWindow is how many chunks are asked for at a time.
	DefaultTransferWindow = 4
	// DefaultChunkTicks is how long a chunk may take before it is asked for again.
	DefaultChunkTicks = 20
	// DefaultChunkTries is how often a chunk is asked for before the transfer fails.
	DefaultChunkTries = 5
	// DefaultSenderIdleTicks is how long a receiver may ask for nothing before its
	// snapshot is reported as failed. It covers a receiver that imports its model.
	DefaultSenderIdleTicks = 600
)

// ErrTransferDone is returned for input to a transfer that has ended.
var ErrTransferDone = errors.New("raftlog: the checkpoint transfer has ended")

// ChunkRequest asks a member for one chunk of a checkpoint.
type ChunkRequest struct {
	To    uint64
	Group GroupID
	Index uint64 // of the checkpoint
	Chunk uint32
}

// TransferError ends a transfer. The sender notices by its own idle time-out, or is
// told; raft then tries again.
type TransferError struct {
	From   uint64
	Group  GroupID
	Index  uint64
	Chunk  uint32
	Detail string
	Err    error // the last one of the chunk; may be nil
}

func (e *TransferError) Error() string {
	s := fmt.Sprintf("raftlog: transfer of checkpoint %d of group %d from member %d failed at chunk %d: %s", e.Index, e.Group, e.From, e.Chunk, e.Detail)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *TransferError) Unwrap() error { return e.Err }

// Receiver pulls the chunks of one checkpoint from one member. It is a step
// machine: Requests says what to ask for, Chunk and Failed take the answers, Tick
// passes time. Chunks may come in any order and come out in theirs; it holds at
// most the window of them. It does not verify bytes: Storage.StageCheckpoint does.
type Receiver struct {
	desc  Descriptor
	from  uint64
	limit ReceiverLimits

	next    uint32 // first chunk not given out by Chunk
	asked   uint32 // first chunk never asked for
	pending map[uint32]*pendingChunk
	bytes   uint64 // given out
	err     error
}

// ReceiverLimits of a Receiver; zero values stand for the defaults.
type ReceiverLimits struct {
	Window uint32
	Ticks  int
	Tries  int
}

type pendingChunk struct {
	data   []byte // nil until it is here
	age    int    // ticks since it was asked for
	tries  int
	resend bool
	err    error
}

// NewReceiver starts a transfer.
func NewReceiver(d Descriptor, from uint64, limits ReceiverLimits) *Receiver {
	if limits.Window == 0 {
		limits.Window = DefaultTransferWindow
	}
	if limits.Ticks == 0 {
		limits.Ticks = DefaultChunkTicks
	}
	if limits.Tries == 0 {
		limits.Tries = DefaultChunkTries
	}
	return &Receiver{desc: d, from: from, limit: limits, pending: map[uint32]*pendingChunk{}}
}

// Descriptor returns what is being transferred.
func (r *Receiver) Descriptor() Descriptor { return r.desc }

// From returns the member it is pulled from.
func (r *Receiver) From() uint64 { return r.from }

// Done reports that all chunks were given out.
func (r *Receiver) Done() bool { return r.err == nil && r.next == r.desc.Chunks }

// Progress returns the chunks and bytes given out so far.
func (r *Receiver) Progress() (chunks uint32, bytes uint64) { return r.next, r.bytes }

// Requests returns what to ask for now, lowest chunk first. Each call returns a
// request once: send them all.
func (r *Receiver) Requests() []ChunkRequest {
	if r.err != nil {
		return nil
	}
	for ; r.asked < r.desc.Chunks && r.asked < r.next+r.limit.Window; r.asked++ {
		r.pending[r.asked] = &pendingChunk{resend: true}
	}
	var out []ChunkRequest
	for _, i := range slices.Sorted(maps.Keys(r.pending)) {
		p := r.pending[i]
		if !p.resend {
			continue
		}
		p.resend, p.age, p.tries = false, 0, p.tries+1
		out = append(out, ChunkRequest{To: r.from, Group: r.desc.Group, Index: r.desc.Index, Chunk: i})
	}
	return out
}

// Chunk takes a chunk and returns those that are next in order, to be written to
// the staged checkpoint. Chunks that were not asked for or came already are ignored.
func (r *Receiver) Chunk(i uint32, data []byte) ([][]byte, error) {
	if r.err != nil || r.Done() {
		return nil, r.ended()
	}
	p := r.pending[i]
	if p == nil || p.data != nil {
		return nil, nil
	}
	if len(data) == 0 || len(data) > MaxChunkBytes {
		return nil, r.fail(i, nil, fmt.Sprintf("it has %d bytes, not 1 to MaxChunkBytes (%d)", len(data), MaxChunkBytes))
	}
	p.data, p.resend = data, false
	var out [][]byte
	for p := r.pending[r.next]; p != nil && p.data != nil; p = r.pending[r.next] {
		out = append(out, p.data)
		r.bytes += uint64(len(p.data))
		delete(r.pending, r.next)
		r.next++
	}
	if r.bytes > r.desc.Bytes || (r.next == r.desc.Chunks && r.bytes != r.desc.Bytes) {
		return nil, r.fail(i, nil, fmt.Sprintf("%d bytes in %d chunks, the descriptor says %d in %d", r.bytes, r.next, r.desc.Bytes, r.desc.Chunks))
	}
	return out, nil
}

// Failed says that a request got no chunk. It is asked for again after its time.
func (r *Receiver) Failed(i uint32, err error) {
	if p := r.pending[i]; p != nil && p.data == nil {
		p.err = err
	}
}

// Tick passes time: chunks that are late are asked for again (see Requests). It
// returns a *TransferError when one has been asked for too often.
func (r *Receiver) Tick() error {
	if r.err != nil {
		return r.err
	}
	for _, i := range slices.Sorted(maps.Keys(r.pending)) {
		p := r.pending[i]
		if p.data != nil || p.resend {
			continue
		}
		if p.age++; p.age < r.limit.Ticks {
			continue
		}
		if p.tries >= r.limit.Tries {
			return r.fail(i, p.err, fmt.Sprintf("no answer in %d tries", p.tries))
		}
		p.resend = true
	}
	return nil
}

func (r *Receiver) fail(i uint32, err error, detail string) error {
	r.err = &TransferError{From: r.from, Group: r.desc.Group, Index: r.desc.Index, Chunk: i, Detail: detail, Err: err}
	r.pending = nil
	return r.err
}

func (r *Receiver) ended() error {
	if r.err != nil {
		return r.err
	}
	return ErrTransferDone
}

// Sender keeps the books of the checkpoints a leader is sending: which ones must
// stay (with the log behind them), and which receivers have gone quiet. It is a step
// machine for one group; the bytes do not pass through it.
type Sender struct {
	idleTicks int
	sessions  map[uint64]*sendSession // by receiver
}

type sendSession struct {
	index uint64
	idle  int
}

// NewSender returns a Sender; idleTicks 0 stands for DefaultSenderIdleTicks.
func NewSender(idleTicks int) *Sender {
	if idleTicks == 0 {
		idleTicks = DefaultSenderIdleTicks
	}
	return &Sender{idleTicks: idleTicks, sessions: map[uint64]*sendSession{}}
}

// Started notes that a snapshot message with this checkpoint goes to a member. It
// replaces what was being sent to it before.
func (s *Sender) Started(to, index uint64) { s.sessions[to] = &sendSession{index: index} }

// Served notes that a member asked for a chunk, and reports whether that belongs to
// what is being sent to it. Serving others is the caller's decision.
func (s *Sender) Served(to, index uint64) bool {
	x := s.sessions[to]
	if x == nil || x.index != index {
		return false
	}
	x.idle = 0
	return true
}

// Acknowledged notes that a member has the log up to an index. It reports whether
// that ends what is being sent to it; then the caller tells raft with
// Group.ReportSnapshot. Answers to what was sent before the snapshot do not.
func (s *Sender) Acknowledged(to, index uint64) bool {
	x := s.sessions[to]
	return x != nil && index >= x.index && s.Finished(to)
}

// Finished ends what is being sent to a member: it said that it failed, or its
// connection broke. It reports whether there was anything; then the caller tells raft
// with Group.ReportSnapshot.
func (s *Sender) Finished(to uint64) bool {
	_, ok := s.sessions[to]
	delete(s.sessions, to)
	return ok
}

// Tick passes time and returns the members whose transfer has been idle for too
// long, ascending; they are finished, the caller reports each to raft as failed.
func (s *Sender) Tick() []uint64 {
	var dead []uint64
	for to, x := range s.sessions {
		if x.idle++; x.idle >= s.idleTicks {
			dead = append(dead, to)
			delete(s.sessions, to)
		}
	}
	slices.Sort(dead)
	return dead
}

// Pinned returns the checkpoints being sent, ascending: the caller keeps one
// CheckpointReader open for each and cuts no log behind the lowest.
func (s *Sender) Pinned() []uint64 {
	set := map[uint64]bool{}
	for _, x := range s.sessions {
		set[x.index] = true
	}
	return slices.Sorted(maps.Keys(set))
}
