package projections

import (
	"github.com/heliosdb/metadata/events"
	"github.com/heliosdb/metadata/internal/cow"
	"github.com/heliosdb/metadata/projections/internal/fold"
)

// The window of remembered requests. It is counted, never timed, so that it is
// the same on all members.
const (
	// MaxRequests is the number of request ids that a state remembers.
	MaxRequests = 16384
	// MaxRequestBytes bounds the size of the changes remembered with them. It is as much
	// as a feed holds, which has the same changes.
	MaxRequestBytes = 16 << 20
)

// Requests is the window of the last request ids with the changes that they
// made. It is an immutable value. The changes are those that were folded, which a
// member's feed holds too.
type Requests struct {
	ids       cow.Set[requestID]
	order     queue
	bytes     int
	forgotten uint64
}

// requestID finds a remembered change by its id.
type requestID struct {
	id     string // that of the change
	change *events.Change
}

func newRequests() Requests {
	r := Requests{ids: cow.New(func(a, b requestID) bool { return a.id < b.id })}
	r.freeze()
	return r
}

// Lookup returns the change that a request made, if it is remembered.
func (r Requests) Lookup(id string) (*events.Change, bool) {
	found, ok := r.ids.Get(requestID{id: id})
	return found.change, ok
}

// Forgotten returns the revision of the newest change whose request id was
// remembered and is not any more; 0: none.
func (r Requests) Forgotten() uint64 { return r.forgotten }

// Len returns the number of remembered requests.
func (r Requests) Len() int { return r.order.len() }

// Bytes returns the size of the remembered changes.
func (r Requests) Bytes() int { return r.bytes }

func (r *Requests) freeze() {
	r.ids.Freeze()
	r.order.freeze()
}

// add remembers a change with a request id, and forgets the oldest beyond the
// limits.
func (r *Requests) add(c *events.Change) {
	if c.RequestID() == "" {
		return
	}
	r.put(c)
	for r.order.len() > MaxRequests || r.bytes > MaxRequestBytes {
		r.forgetOldest()
	}
}

// skip is add for a change that is forgotten by the end, if those behind it fill the window, which is
// empty still.
func (r *Requests) skip(c *events.Change) {
	if c.RequestID() != "" {
		r.forgotten = c.Revision()
	}
}

// isWholeBehind reports whether the window is as if the changes up to a revision had been added and
// not skipped: it is full, or those behind them were too large for it already, or none of them had an id.
func (r *Requests) isWholeBehind(skipped uint64) bool {
	return r.order.len() == MaxRequests || r.forgotten > skipped || r.forgotten == 0
}

func (r *Requests) put(c *events.Change) {
	r.ids.Put(requestID{c.RequestID(), c})
	r.order.push(c)
	r.bytes += len(c.Raw())
}

func (r *Requests) forgetOldest() {
	oldest := r.order.pop()
	r.bytes -= len(oldest.Raw())
	r.forgotten = oldest.Revision()
	// The id may have been used for a newer change since.
	if at, ok := r.ids.Get(requestID{id: oldest.RequestID()}); ok && at.change == oldest {
		r.ids.Delete(at)
	}
}

// newest returns the revision of the newest change that is remembered or was; 0 if
// there is none.
func (r *Requests) newest() uint64 {
	if last := r.order.last(); last != nil {
		return last.Revision()
	}
	return r.forgotten
}

// export yields the remembered changes by revision.
func (r Requests) export(yield func(record []byte) error) error {
	var buf []byte
	for c := range r.order.all() {
		buf = fold.AppendRecord(buf[:0], fold.RecordRequest, c.Raw())
		if err := yield(buf); err != nil {
			return err
		}
	}
	return nil
}
