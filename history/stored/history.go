// Package stored reads what a member has of a stream's past: changes from the feed's memory and from
// the storage, and the states that models of the past are folded from. It is what a member answers
// with; the simulator's members do so too.
//
// What lies before the floor is HISTORY_TRIMMED, whatever is still on the disk; what the member was
// not given is HISTORY_GAP, and names a member that has it; what its disk has damaged is DAMAGED, and
// nothing else is: all other revisions can be read.
//
// Everything here is safe for concurrent use, except for [Verified]. Nothing is written, and nothing
// is kept but a digest; who holds a model or changes holds them immutable.
package stored

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/history"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
	"github.com/heliosdb/metadata/raftlog"
	"github.com/heliosdb/metadata/replica"
)

// History reads one stream's changes from a storage: a feed.History.
type History struct {
	store  raftlog.Storage
	group  raftlog.GroupID
	stream metadatav1.Stream
	floor  func() uint64 // the oldest revision that is kept; 0: nothing was trimmed
	// kept, unless nil, is told which digest was kept behind a revision, of each record
	// that is read, before Read returns.
	kept func(revision uint64, digest events.Digest)
}

// NewHistory returns what a storage holds of a stream's past. floor returns the oldest
// revision that is kept, 0 if nothing was trimmed; it is called from any goroutine. What lies
// before it is HISTORY_TRIMMED, whether or not the storage still has it.
func NewHistory(store raftlog.Storage, stream metadatav1.Stream, floor func() uint64) *History {
	return &History{store: store, group: raftlog.GroupID(stream), stream: stream, floor: floor}
}

// Read implements feed.History.
func (h *History) Read(from uint64, maxBytes int) ([]*events.Change, error) {
	return readStored(h, from, maxBytes, func(p *raftlog.Past) ([]*events.Change, error) {
		b, err := replica.DecodePast(p)
		switch {
		case err != nil:
			return nil, err
		case b.Stream != h.stream:
			return nil, fmt.Errorf("log entry %d belongs to stream %s", p.Entry, events.StreamName(b.Stream))
		case h.kept != nil:
			h.kept(p.Last, b.Digest)
		}
		return b.Changes, nil
	}, (*events.Change).Raw)
}

// Originals is Read for the bytes of the changes as logged.
func (h *History) Originals(from uint64, maxBytes int) ([][]byte, error) {
	return readStored(h, from, maxBytes, replica.SplitPast, func(raw []byte) []byte { return raw })
}

// readStored reads changes from a revision on, as many as fit into maxBytes, but at least one,
// in the form that open gives those of a record.
func readStored[C any](
	h *History, from uint64, maxBytes int, open func(*raftlog.Past) ([]C, error), raw func(C) []byte,
) (changes []C, err error) {
	if oldest := h.Oldest(); from < oldest {
		return nil, history.Trimmed(h.stream, from, oldest)
	}
	past, err := h.store.ReadHistory(h.group, from, maxBytes)
	if err != nil {
		return nil, h.explain(from, err)
	}
	size := 0
	for i := range past {
		opened, err := open(&past[i])
		if err != nil && len(changes) > 0 {
			return changes, nil // the error is for who reads on
		}
		if err != nil {
			return nil, h.damaged(max(from, past[i].First), past[i].Last, err)
		}
		for _, c := range opened[max(from, past[i].First)-past[i].First:] {
			if size += len(raw(c)); size > maxBytes && len(changes) > 0 {
				return changes, nil
			}
			changes = append(changes, c)
		}
	}
	return changes, nil
}

// explain says what an error of the storage means to who reads history from a revision on.
func (h *History) explain(from uint64, err error) error {
	if gap, ok := errors.AsType[*raftlog.GapError](err); ok {
		return h.missing(gap.Seq)
	}
	if damage, ok := errors.AsType[*raftlog.DamageError](err); ok {
		return h.damaged(from, from, damage.Detail) // without the path, which is nobody's business
	}
	if err != nil {
		return fmt.Errorf("reading history of the %s stream from revision %d: %w", events.StreamName(h.stream), from, err)
	}
	return nil
}

// missing is the failure of a read of what this member lacks.
func (h *History) missing(revision uint64) error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP,
		"this member was given a checkpoint and still lacks revision %d of the %s stream; ask another member", revision, events.StreamName(h.stream)).
		With("stream", h.stream.String()).With("revision", strconv.FormatUint(revision, 10))
}

// damaged is the failure of a read that found other bytes than were written. Members go on
// with it: what they fold comes from elsewhere.
func (h *History) damaged(first, last uint64, cause any) error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_DAMAGED,
		"the history of the %s stream on this member is damaged at revisions %d to %d: %v; ask another member, and check this one's disk",
		events.StreamName(h.stream), first, last, cause).
		With("stream", h.stream.String()).With("revision", strconv.FormatUint(first, 10))
}

// Oldest implements feed.History. What this member lacks from there on, it lacks because it
// was given a checkpoint.
func (h *History) Oldest() uint64 { return max(h.floor(), 1) }
