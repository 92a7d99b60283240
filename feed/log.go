package feed

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/failure"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// History is what was committed before a Log's memory begins. Its methods are
// called from any goroutine, without locks held; they may block on a disk.
type History interface {
	// Read returns the changes from the revision on, in order without gaps, as
	// many as fit into maxBytes of encoded changes, but at least one; nothing if
	// the history has not come so far. It fails with HISTORY_TRIMMED if the
	// revision was trimmed, and with HISTORY_GAP if this member lacks it.
	Read(from uint64, maxBytes int) ([]*events.Change, error)
	// Oldest returns the oldest revision that was not trimmed, on this member
	// or, if it lacks a part, elsewhere; if there is none, the one after the
	// last.
	Oldest() uint64
}

// LogOptions configure a Log.
type LogOptions struct {
	Stream     metadatav1.Stream
	Head       uint64  // revision of the model that the member starts with
	History    History // nil: there is only what is in memory
	MaxBytes   int     // of encoded changes in memory, which have small heads on top; default DefaultLogBytes
	MaxChanges int     // in memory; default DefaultLogChanges
}

// Log is the recent past of one stream. Append, SetDurable and Jump are called
// by one goroutine at a time; the other methods by any, at any time, without
// locks.
type Log struct {
	options LogOptions
	now     atomic.Pointer[view]

	writing sync.Mutex // serialises the writing methods; readers never take it
	durable uint64     // revision up to which History has everything
	dead    int        // bytes of evicted changes that the views' array still holds
}

// view is what is in memory at one moment: the changes (head-len(changes),
// head]. It is immutable; later views may share its array.
type view struct {
	changes []*entry
	head    uint64
	bytes   int           // of the changes
	changed chan struct{} // closed when head moves
}

// first returns the oldest revision in memory; head+1 if there is none.
func (v *view) first() uint64 { return v.head - uint64(len(v.changes)) + 1 }

// NewLog returns a Log that is empty in memory and stands at the head.
func NewLog(o LogOptions) *Log {
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultLogBytes
	}
	if o.MaxChanges <= 0 {
		o.MaxChanges = DefaultLogChanges
	}
	l := &Log{options: o, durable: o.Head}
	l.now.Store(&view{head: o.Head, changed: make(chan struct{})})
	return l
}

// Stream returns the Log's stream.
func (l *Log) Stream() metadatav1.Stream { return l.options.Stream }

// Head returns the revision of the last change appended.
func (l *Log) Head() uint64 { return l.now.Load().head }

// Changed returns a channel that is closed when the head moves.
func (l *Log) Changed() <-chan struct{} { return l.now.Load().changed }

// Oldest returns the oldest revision that can be read; Head()+1 if none can.
func (l *Log) Oldest() uint64 {
	return l.oldest(l.now.Load())
}

func (l *Log) oldest(v *view) uint64 {
	if l.options.History == nil {
		return v.first()
	}
	return min(l.options.History.Oldest(), v.first())
}

// Append adds committed changes and wakes the subscribers. It keeps the changes
// and copies the slice. It panics if the revisions do not follow the head
// without gaps: that is a bug of the caller, and sending on would spread it.
func (l *Log) Append(changes []*events.Change) {
	if len(changes) == 0 {
		return
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	old := l.now.Load()
	next := &view{changes: old.changes, head: old.head, bytes: old.bytes, changed: make(chan struct{})}
	for _, c := range changes {
		if c.Revision() != next.head+1 {
			panic(fmt.Sprintf("feed: change %d of %v appended behind %d", c.Revision(), l.options.Stream, next.head))
		}
		next.head++
		next.bytes += len(c.Raw())
		next.changes = append(next.changes, &entry{change: c}) // behind the end of every older view
	}
	l.evict(next)
	l.now.Store(next)
	close(old.changed)
}

// SetDurable says that History has every change up to the revision, so that
// these may leave memory.
func (l *Log) SetDurable(revision uint64) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if revision <= l.durable {
		return
	}
	l.durable = revision
	next := *l.now.Load()
	l.evict(&next)
	l.now.Store(&next)
}

// Durable returns the revision up to which History has everything that came since the
// member started.
func (l *Log) Durable() uint64 {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.durable
}

// Jump says that the member installed a checkpoint of a later revision: memory
// begins anew behind it, and what lies between is up to History. A head that is
// not later is ignored.
func (l *Log) Jump(head uint64) {
	l.writing.Lock()
	defer l.writing.Unlock()
	old := l.now.Load()
	if head <= old.head {
		return
	}
	l.durable, l.dead = max(l.durable, head), 0
	l.now.Store(&view{head: head, changed: make(chan struct{})})
	close(old.changed)
}

// evict drops the oldest changes over the limits, never one that only memory
// has, and never the newest. The array of the views is left behind when it holds too much of the dead.
func (l *Log) evict(v *view) {
	n := 0
	for ; n < len(v.changes)-1 && (v.bytes > l.options.MaxBytes || len(v.changes)-n > l.options.MaxChanges); n++ {
		c := v.changes[n].change
		if l.options.History != nil && c.Revision() > l.durable {
			break
		}
		v.bytes -= len(c.Raw())
		l.dead += len(c.Raw())
	}
	v.changes = v.changes[n:]
	if l.dead > l.options.MaxBytes/8 {
		v.changes, l.dead = slices.Clone(v.changes), 0
	}
}

// read returns the changes behind a revision, from memory or from History, at
// most MaxScanChanges and about MaxFrameBytes; none if there is nothing new.
// They end at the view's head at the latest.
func (l *Log) read(v *view, after uint64) ([]*entry, error) {
	if after >= v.head {
		return nil, nil
	}
	if first := v.first(); after+1 >= first {
		rest := v.changes[after+1-first:]
		return rest[:min(len(rest), MaxScanChanges)], nil
	}
	if oldest := l.oldest(v); after+1 < oldest {
		return nil, trimmed(l.options.Stream, after, oldest)
	}
	read, err := l.options.History.Read(after+1, MaxFrameBytes)
	if err != nil {
		return nil, err
	}
	entries := make([]*entry, 0, min(len(read), MaxScanChanges))
	for i, c := range read {
		if want := after + 1 + uint64(i); c.Revision() != want {
			return nil, gap(l.options.Stream, want)
		}
		if c.Revision() > v.head || i == MaxScanChanges {
			break
		}
		entries = append(entries, &entry{change: c})
	}
	if len(entries) == 0 {
		return nil, gap(l.options.Stream, after+1)
	}
	return entries, nil
}

// Recent returns the changes from a revision on that are in memory, as many as fit into
// maxBytes of encoded changes, but at least one; none if the revision is not among them,
// because it lies further back or has not come yet.
func (l *Log) Recent(from uint64, maxBytes int) []*events.Change {
	v := l.now.Load()
	if first := v.first(); from >= first && from <= v.head {
		var changes []*events.Change
		for _, e := range v.changes[from-first:] {
			if maxBytes -= len(e.change.Raw()); maxBytes < 0 && len(changes) > 0 {
				break
			}
			changes = append(changes, e.change)
		}
		return changes
	}
	return nil
}

func trimmed(s metadatav1.Stream, after, oldest uint64) error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_HISTORY_TRIMMED,
		"the history of the %s stream behind revision %d was trimmed; the oldest revision left is %d; start from a snapshot", events.StreamName(s), after, oldest).
		With("oldest_revision", fmt.Sprint(oldest)).With("stream", s.String())
}

func gap(s metadatav1.Stream, revision uint64) error {
	return failure.New(metadatav1.ErrorReason_ERROR_REASON_HISTORY_GAP,
		"this member lacks revision %d of the %s stream; ask another member", revision, events.StreamName(s)).
		With("stream", s.String()).With("revision", fmt.Sprint(revision))
}
